"""The rounds service: rounds calculated, decided and listed, and each collective's line of one to be verified alone."""
