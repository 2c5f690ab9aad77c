"""Usage files of strangers, each read by a process of its own that may have so much memory and no more.

`readers` starts such processes for the server, `__main__` is what they are forked from, `reader` is what they do, and
`frames` is what they say.
"""
