"""The messages and gRPC stubs of `proto/moiety/v1`. Generated: `make proto` writes this folder."""
