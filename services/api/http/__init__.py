"""HTTP: the contract's calls by the Connect protocol and gRPC-Web, files in and out, health and metrics.

`doorway` bounds what a connection may cost, `app` sends each request to whom it concerns, `carried` runs handlers on
threads, and the others answer.
"""
