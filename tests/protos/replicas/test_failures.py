"""Details of failed calls: whether the service gave its reason."""

from __future__ import annotations

import grpc
import pytest

from tintype.service.errors import InvalidField, QueueFull
from tintype.service.rpc.status import to_status
from tintype.v1.replicas.failures import reason_of


@pytest.mark.parametrize("error", [QueueFull("full"), InvalidField("steps", "must be 1 to 150, not 900")])
def test_reasons(error: QueueFull | InvalidField) -> None:
    """The reason is read from the details that the service sends; an error without details has none."""
    status = to_status(error)
    metadata = grpc.aio.Metadata(*status.trailing)
    call_error = grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), metadata, status.message)
    assert reason_of(call_error) == error.reason
    for trailers in (grpc.aio.Metadata(), grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff"))):
        assert reason_of(grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailers)) == ""
