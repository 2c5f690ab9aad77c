"""Verification of a bundle by one public key, and the report of what was checked and found."""
