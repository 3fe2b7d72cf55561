"""Translation of gRPC errors: the table from gRPC status to HTTP status, and failed calls as ServiceError.

The service sends details in the trailer `grpc-status-details-bin`, a `google.rpc.Status`
(google/rpc/error_details.proto). An error without the service's ErrorInfo comes from the connection or from an
unexpected exception. Its text may contain addresses and internals, so it is logged and not sent to the client.
"""

from __future__ import annotations

import logging
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from tintype.v1.reasons import DETAILS, DOMAIN, LASTING, Reason

from ..errors import ServiceError
from .channel import NOT_SERVING, UNHEALTHY

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

STATUS_BY_REASON: dict[str, int] = {
    Reason.MODEL_BROKEN: 503,  # a listed model that does not work is the server's fault
    Reason.MODERATION_BLOCKED: 400,  # as in OpenAI's API
}
KEY_REJECTED = "The image service does not accept this gateway's key."

# Messages by HTTP status, for errors whose own message may contain internals.
DEFAULT_MESSAGES = {
    500: "The image service had an error.",
    503: "The image service can't be reached. Try again in a moment.",
    504: "The image was not done in time.",
}
NOT_SERVING_MESSAGE = f"{NOT_SERVING[0].upper()}{NOT_SERVING[1:]}. Try again in a moment."
RETRY_AFTER = 1.0  # seconds, if a retry may help and the service names no delay


def from_rpc(error: grpc.aio.AioRpcError) -> ServiceError:
    """Return the ServiceError of a failed call."""
    status = _status_details(error)
    info = _unpack(status, error_details_pb2.ErrorInfo())
    code = error.code()
    is_from_service = info and info.domain == DOMAIN and code is not grpc.StatusCode.UNAUTHENTICATED
    info = info if is_from_service else None
    if info is None and code is grpc.StatusCode.INTERNAL:
        code = grpc.StatusCode.UNAVAILABLE  # a replica that died under the call shows as INTERNAL
    reason = Reason.named(info.reason) if info else code.name
    http_status = STATUS_BY_REASON.get(reason) or STATUS_BY_CODE.get(code, 500)
    text = error.details() or ""
    if info is None and http_status >= 500:
        log.warning("the image service failed with %s: %s", error.code().name, text)
        text = _message(code, http_status, text)
    translated = ServiceError(
        text or code.name,
        status=http_status,
        reason=reason,
        violations=_violations(status),
        facts=dict(info.metadata) if info else None,
        retry_after=_retry_after(status, http_status, reason),
    )
    return translated.with_client_names({})


def _message(code: grpc.StatusCode, http_status: int, text: str) -> str:
    """Return the message for clients of an error that is not the service's own; `text` is gRPC's."""
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return KEY_REJECTED
    return NOT_SERVING_MESSAGE if UNHEALTHY in text else DEFAULT_MESSAGES.get(http_status, text)


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
    is_lasting = reason in LASTING or reason == grpc.StatusCode.UNAUTHENTICATED.name
    return RETRY_AFTER if http_status in (429, 503) and not is_lasting else None
