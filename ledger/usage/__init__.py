"""Usage batches: their bytes, what they say, and the weights that follow."""
