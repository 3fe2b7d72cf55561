"""The gRPC service as the gateway reaches it: channel, client, status codes and readiness."""
