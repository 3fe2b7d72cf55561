"""The REST gateway: translates vendors' JSON to gRPC and back, without torch or model code."""
