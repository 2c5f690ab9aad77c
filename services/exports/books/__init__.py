"""A pool's transfers as accountants keep them."""
