"""Conversion of the error tree to gRPC, in one table.

Every failed call carries a `google.rpc.Status` in the trailer `grpc-status-details-bin`
(see google/rpc/error_details.proto):

- ErrorInfo: the reason, the domain `tintype`, and facts for programs;
- BadRequest for invalid fields: one violation per field;
- RetryInfo if the delay of a retry is known.

Clients abort a call whose trailers are too long and lose the error, so all of them stay below `MAX_TRAILERS`.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2

from tintype.v1.reasons import DETAILS, DOMAIN

from ..errors import (
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    ModelBroken,
    ModelNotFound,
    OutOfMemory,
    PermissionDenied,
    QueueFull,
    RateLimited,
    RetryLater,
    TintypeError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

log = logging.getLogger(__name__)

MAX_TRAILERS = 6_000  # bytes as sent: the message percent-encoded, the details in base64
MAX_VIOLATIONS = 16

STATUS: dict[type[TintypeError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    ModelBroken: grpc.StatusCode.FAILED_PRECONDITION,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
    QueueFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    OutOfMemory: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Cancelled: grpc.StatusCode.CANCELLED,
    GenerationFailed: grpc.StatusCode.INTERNAL,
    TintypeError: grpc.StatusCode.INTERNAL,
}

# Lengths to which texts are cut, in bytes of UTF-8, tried in order until all of it fits.
_LENGTHS = (1200, 600, 300, 150, 75, 30)


class Status(NamedTuple):
    """The end of a call: code, message, and trailing metadata with the details."""

    code: grpc.StatusCode
    message: str
    trailing: tuple[tuple[str, bytes], ...]


class ForwardedError(Exception):
    """The failure of another service's call, which the client gets unchanged."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


def to_status(error: Exception) -> Status:
    """Return the status of a call that failed with `error`.

    An exception outside of the tree is a bug: it is logged with its traceback, and the client gets no details.
    """
    if isinstance(error, ForwardedError):
        return error.status
    if not isinstance(error, TintypeError):
        log.error("unexpected %s", type(error).__name__, exc_info=error)
        error = TintypeError("internal error; the log of the server has the details")
    statuses = (_status(error, length) for length in _LENGTHS)
    return next((status for status in statuses if size(status) < MAX_TRAILERS), _status(error, _LENGTHS[-1]))


def size(status: Status) -> int:
    """Return the most bytes that `status` takes in trailers: percent-encoding triples, base64 adds a third."""
    percent_encoded = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in status.message.encode())
    return percent_encoded + sum(-(-len(value) // 3) * 4 + len(key) for key, value in status.trailing)


def _status(error: TintypeError, length: int) -> Status:
    code = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    message = _cut(error.message, length)
    status = status_pb2.Status(code=code.value[0], message=message, details=_details(error, length))
    return Status(code, message, ((DETAILS, status.SerializeToString()),))


def _details(error: TintypeError, length: int) -> list[Packed]:
    facts = {_cut(key, length): _cut(value, length) for key, value in list(error.metadata.items())[:8]}
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts))]
    if isinstance(error, InvalidRequest):
        details.append(_packed(_bad_request(error, length)))
    if isinstance(error, RetryLater) and error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(error.retry_after * 1000))
        details.append(_packed(retry))
    return details


def _bad_request(error: InvalidRequest, length: int) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[
            violation(field=_cut(fault.field, length), description=_cut(fault.problem, length))
            for fault in error.violations[:MAX_VIOLATIONS]
        ]
    )


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo) -> Packed:
    packed = Packed()
    packed.Pack(detail)
    return packed


def _cut(text: str, length: int) -> str:
    """Return `text` cut to `length` bytes of UTF-8, with an ellipsis if it was cut."""
    data = text.encode(errors="replace")
    return text if len(data) <= length else data[: length - 3].decode(errors="ignore") + "…"
