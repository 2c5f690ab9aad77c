"""The verbs of `moiety.Client`, a module for each service of the contract."""
