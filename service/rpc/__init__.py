"""The service over gRPC: listening, access, the servicer, and conversion from and to messages of `tintype.v1`."""
