"""The pages by noun. A view takes a visit and returns its answer."""
