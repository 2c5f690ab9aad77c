"""Who gets what: policies, weights, apportionment and rounds, computed from the ledger's log."""
