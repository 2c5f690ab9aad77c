"""Webhooks: what is sent, to which addresses, signed how, and the one that sends it."""
