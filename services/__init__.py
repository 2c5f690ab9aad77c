"""The process: settings, wiring, the gRPC services, the command line and the migrations."""
