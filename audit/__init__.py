"""Whether figures follow from a log: replay, verification, and the check of the database."""
