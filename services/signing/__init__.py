"""Signing checkpoints of the pools' logs, and having witnesses cosign them."""
