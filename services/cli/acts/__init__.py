"""Commands about who may act, and about what waits for a second person."""
