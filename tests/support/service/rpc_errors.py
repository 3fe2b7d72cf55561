"""Errors of failed gRPC calls, as a client receives them."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2


def status_of(error: Any) -> Any:
    """Return the google.rpc.Status of a call's error, its details unpacked by name."""
    data = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(data)
    details = {}
    for packed in status.details:
        kind = packed.TypeName().rpartition(".")[2]
        details[kind] = getattr(error_details_pb2, kind).FromString(packed.value)
    return status, details


async def rpc_error(call: Any) -> Any:
    """Return the error that ends `call`."""
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return caught.value
