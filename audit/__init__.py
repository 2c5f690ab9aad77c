"""Whether what a log says follows: replay, verification, and the check of the database."""
