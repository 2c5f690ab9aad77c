"""A call, whatever carries it: how it is let in, waits for its turn, is done, fails, and is told of."""
