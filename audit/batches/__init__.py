"""Batches of usage: read, checked and weighed once more, and each event counted once in a log."""
