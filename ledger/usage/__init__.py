"""Usage batches: their bytes, their content, and the weights that follow."""
