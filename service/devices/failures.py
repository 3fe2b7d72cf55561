"""What the error of a call to a device's process means for the request."""

from __future__ import annotations

import re
from enum import Enum

import grpc

from tintype.v1.reasons import Reason

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
