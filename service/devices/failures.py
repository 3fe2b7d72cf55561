"""What the error of a call to a device's process means for the request."""

from __future__ import annotations

import re
from enum import Enum

import grpc

from tintype.v1.reasons import DETAILS, Reason
from tintype.v1.replicas.failures import details_of, reason_of

from ..errors import DeadlineExceeded, Unavailable
from ..rpc.status import ForwardedError, Status

# Texts of drivers and runtimes after which every further call of the process fails.
DEVICE_LOST = re.compile(
    r"device[ _](?:is |was |has been )?(?:lost|removed|hung)|illegal (?:memory access|instruction|address)"
    r"|unspecified launch failure|fallen off the bus|uncorrectable ECC|misaligned address|device-side assert"
    r"|hardware (?:stack )?error|CUDA (?:failure|error):? (?:700|710|714|715|716|717|718|719|46|62)\b",
    re.IGNORECASE,
)
CONNECTION_ENDED = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)


class Failure(Enum):
    """The meaning of an error."""

    PROCESS_LOST = "the process ended, or it can't be reached"
    DEVICE_LOST = "the device is lost, and its process can't use it any more"
    REFUSED = "another device may take the request now"
    FINAL = "the request itself fails"
    MOVED = "another device takes over the request"


def classify(code: grpc.StatusCode, message: str, reason: str) -> Failure:
    """Return what an error means; `reason` is that of the service, empty if the error comes from the connection."""
    if not reason:
        return Failure.PROCESS_LOST if code in CONNECTION_ENDED else Failure.FINAL
    if reason in (Reason.GENERATION_FAILED, Reason.INTERNAL) and DEVICE_LOST.search(message):
        return Failure.DEVICE_LOST
    return Failure.REFUSED if reason in (Reason.QUEUE_FULL, Reason.UNAVAILABLE) else Failure.FINAL


class Interrupted(Exception):
    """A device does not finish a request; `error` is what the client gets if no other device does."""

    def __init__(self, failure: Failure, problem: str, error: Exception) -> None:
        super().__init__(problem)
        self.failure = failure
        self.problem = problem
        self.error = error


def interruption(error: grpc.aio.AioRpcError) -> Interrupted:
    """Return what the error of a call means."""
    code, message, details = error.code(), error.details() or "", details_of(error)
    failure = classify(code, message, reason_of(error))
    forwarded: Exception = ForwardedError(Status(code, message, ((DETAILS, details),) if details else ()))
    if failure is Failure.PROCESS_LOST:
        forwarded = Unavailable("the device that worked on this call was lost", retry_after=5.0)
    elif code is grpc.StatusCode.DEADLINE_EXCEEDED and not details:
        forwarded = DeadlineExceeded("the request was not done before its deadline")
    return Interrupted(failure, message, forwarded)
