"""Replays whose batches are weighed by processes of their own, for threads take the interpreter from each other.

`processes` has such processes work for the server, `__main__` is what they are forked from, and `process` is what they
do. Both sides are this program, and say what they have to say as pickles.
"""
