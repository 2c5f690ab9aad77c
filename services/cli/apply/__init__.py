"""`moiety apply`: a declaration, and what differs from it."""
