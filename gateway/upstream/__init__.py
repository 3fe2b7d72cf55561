"""The connection to the gRPC service: channel, client, status codes, readiness."""
