"""gRPC: the contract's calls by grpcio's server."""
