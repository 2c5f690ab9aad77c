"""The gRPC services: who may call them, how they answer, and how errors travel."""
