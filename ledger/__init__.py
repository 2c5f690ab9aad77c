"""The book of record: money, usage, the journal and the Merkle log.

It knows nothing of payouts, gRPC or the web.
"""
