"""Translation of gRPC errors: the table from gRPC status to HTTP status, and failed calls as ServiceError.

The service sends details in the trailer `grpc-status-details-bin`, a `google.rpc.Status`
(google/rpc/error_details.proto). An error without the service's ErrorInfo is foreign: it comes from the connection,
from a proxy in between, or from an unexpected exception. Clients get neither its code, which says nothing about their
request, nor its text, which may contain addresses and internals; both are logged.
"""

from __future__ import annotations

import logging
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from tintype.v1.reasons import DETAILS, DOMAIN, LASTING, Reason

from ..errors import ServiceError
from .channel import KEY_REJECTED, NOT_SERVING

log = logging.getLogger(__name__)

Detail = TypeVar("Detail", bound=Message)

STATUS_BY_CODE: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 503,  # the key is the gateway's own, not the client's
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

# Foreign errors; all others mean that the service can't be reached. A replica that died under a call shows as INTERNAL,
# behind a proxy as CANCELLED.
FOREIGN_STATUS: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

STATUS_BY_REASON: dict[str, int] = {
    Reason.MODEL_BROKEN: 503,  # a listed model that does not work is the server's fault
    Reason.MODERATION_BLOCKED: 400,  # as in OpenAI's API
}

TOO_LARGE = "larger than max"  # part of gRPC's messages about the size of a message
# Messages by HTTP status, for errors whose own message may contain internals.
DEFAULT_MESSAGES = {
    413: "The request, or an image of it, is larger than a message of the image service may be.",
    429: "The image service has too many requests. Try again in a moment.",
    500: "The image service had an error.",
    503: "The image service can't be reached. Try again in a moment.",
    504: "The image was not done in time.",
}
KEY_REJECTED_MESSAGE = f"{KEY_REJECTED[0].upper()}{KEY_REJECTED[1:]}."
NOT_SERVING_MESSAGE = f"{NOT_SERVING[0].upper()}{NOT_SERVING[1:]}. Try again in a moment."
RETRY_AFTER = 1.0  # seconds, if a retry may help and the service names no delay


def from_rpc(error: grpc.aio.AioRpcError) -> ServiceError:
    """Return the ServiceError of a failed call."""
    status = _status_details(error)
    info = _unpack(status, error_details_pb2.ErrorInfo())
    code = error.code()
    if code is grpc.StatusCode.UNAUTHENTICATED or not info or info.domain != DOMAIN:
        return _foreign(code, error.details() or "")
    reason = Reason.named(info.reason)
    http_status = STATUS_BY_REASON.get(reason) or STATUS_BY_CODE.get(code, 500)
    translated = ServiceError(
        error.details() or code.name,
        status=http_status,
        reason=reason,
        violations=_violations(status),
        facts=dict(info.metadata),
        retry_after=_retry_after(status, http_status, reason),
    )
    return translated.with_client_names({})


def no_replica(problem: str) -> ServiceError:
    """Return the error of a request that no replica can take; `problem` says why."""
    known = {NOT_SERVING: NOT_SERVING_MESSAGE, KEY_REJECTED: KEY_REJECTED_MESSAGE}
    message = known.get(problem, DEFAULT_MESSAGES[503])
    return ServiceError(message, status=503, reason=Reason.UNAVAILABLE, retry_after=RETRY_AFTER)


def two_deaths() -> ServiceError:
    """Return the error of a request under which two replicas died. A retry could end more of them."""
    text = "Two replicas of the image service ended while they worked on this request. It is not tried again."
    return ServiceError(text, status=500, reason=Reason.GENERATION_FAILED)


def is_too_large(code: grpc.StatusCode, text: str) -> bool:
    """Whether a foreign error says that a message, in either direction, is too large."""
    return code is grpc.StatusCode.RESOURCE_EXHAUSTED and TOO_LARGE in text


def _foreign(code: grpc.StatusCode, text: str) -> ServiceError:
    """Return the ServiceError of an error that the service does not explain."""
    log.warning("the image service failed with %s: %s", code.name, text)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return ServiceError(KEY_REJECTED_MESSAGE, status=503, reason=code.name)
    status = 413 if is_too_large(code, text) else FOREIGN_STATUS.get(code, 503)
    return ServiceError(
        DEFAULT_MESSAGES[status],
        status=status,
        reason=Reason.UNAVAILABLE if status == 503 else code.name,
        retry_after=RETRY_AFTER if status in (429, 503) else None,
    )


def _status_details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            try:
                status.ParseFromString(value)
            except DecodeError:
                log.warning("the image service sent error details that are not a google.rpc.Status")
    return status


def _unpack(status: status_pb2.Status, detail: Detail) -> Detail | None:
    return detail if any(packed.Unpack(detail) for packed in status.details) else None


def _violations(status: status_pb2.Status) -> list[tuple[str, str]]:
    bad_request = _unpack(status, error_details_pb2.BadRequest())
    return [(fault.field, fault.description) for fault in bad_request.field_violations] if bad_request else []


def _retry_after(status: status_pb2.Status, http_status: int, reason: str) -> float | None:
    retry = _unpack(status, error_details_pb2.RetryInfo())
    if retry is not None:
        return float(retry.retry_delay.ToMilliseconds() / 1000)
    return RETRY_AFTER if http_status in (429, 503) and reason not in LASTING else None
