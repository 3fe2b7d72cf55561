"""The gRPC service: engine, numerics, models and images, free of torch."""
