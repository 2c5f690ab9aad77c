"""Principals, their keys, and who may call what."""
