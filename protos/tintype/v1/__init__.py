"""The contract's stubs, and what gateway and service share.

`make protos` generates the stubs.
"""
