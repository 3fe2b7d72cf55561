"""The REST gateway: vendors' JSON to gRPC and back, free of torch and of model code."""
