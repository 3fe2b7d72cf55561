"""The details of a failed call: whether the service itself gave its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from ..reasons import DETAILS, DOMAIN

if TYPE_CHECKING:
    import grpc


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Return the reason that the service gave; empty if the error comes from the connection."""
    details, status, info = details_of(error), status_pb2.Status(), error_details_pb2.ErrorInfo()
    try:
        status.ParseFromString(details)
    except DecodeError:
        return ""
    return info.reason if any(each.Unpack(info) for each in status.details) and info.domain == DOMAIN else ""


def details_of(error: grpc.aio.AioRpcError) -> bytes:
    """Return the trailer with the details of an error; empty if it has none."""
    trailers = error.trailing_metadata() or ()
    return next((value for key, value in trailers if key == DETAILS and isinstance(value, bytes)), b"")
