"""The registry service: who takes part, by which terms, and who may act."""
