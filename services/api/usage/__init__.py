"""The usage service: batches of usage in, from files, streams and messages, and what became of them."""
