"""Reasons of errors: stable names that clients and programs compare.

The service sends a reason in `google.rpc.ErrorInfo.reason`, with the domain `tintype`; the gateway uses the same names
for errors of its own. A released name never changes its meaning.
"""

from __future__ import annotations

from enum import StrEnum, unique

DOMAIN = "tintype"
"""The domain of the service's `ErrorInfo`."""

DETAILS = "grpc-status-details-bin"
"""The trailer of a call that holds its `google.rpc.Status`."""


@unique
class Reason(StrEnum):
    """Why a request failed."""

    # Of the service, and of the gateway if it detects the same error before calling the service.
    INVALID_FIELD = "INVALID_FIELD"
    NO_KEY = "NO_KEY"
    WRONG_KEY = "WRONG_KEY"
    ADMIN_ONLY = "ADMIN_ONLY"
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    MODEL_BROKEN = "MODEL_BROKEN"
    UNSUPPORTED = "UNSUPPORTED"
    QUEUE_FULL = "QUEUE_FULL"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    UNAVAILABLE = "UNAVAILABLE"
    GENERATION_FAILED = "GENERATION_FAILED"
    MODERATION_BLOCKED = "MODERATION_BLOCKED"
    INTERNAL = "INTERNAL"

    # Of the gateway alone.
    BAD_REQUEST = "BAD_REQUEST"
    NOT_JSON = "NOT_JSON"
    EMPTY_PROMPT = "EMPTY_PROMPT"
    INVALID_VALUE = "INVALID_VALUE"
    INVALID_IMAGE_FILE = "INVALID_IMAGE_FILE"
    IMAGE_NOT_FETCHED = "IMAGE_NOT_FETCHED"
    MODERATION_UNAVAILABLE = "MODERATION_UNAVAILABLE"
    UNKNOWN_PARAMETER = "UNKNOWN_PARAMETER"
    NOT_SERVED = "NOT_SERVED"
    NO_SUCH_PATH = "NO_SUCH_PATH"
    NO_SUCH_FILE = "NO_SUCH_FILE"
    NO_SUCH_METHOD = "NO_SUCH_METHOD"
    NO_SUCH_JOB = "NO_SUCH_JOB"
    TOO_MANY_JOBS = "TOO_MANY_JOBS"
    JOB_ABANDONED = "JOB_ABANDONED"
    JOB_EXPIRED = "JOB_EXPIRED"
    FOREIGN_HOST = "FOREIGN_HOST"
    FOREIGN_ORIGIN = "FOREIGN_ORIGIN"
    BODY_TOO_SLOW = "BODY_TOO_SLOW"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    UPLOADS_FULL = "UPLOADS_FULL"
    WRONG_CONTENT_TYPE = "WRONG_CONTENT_TYPE"
    KEY_REUSED = "KEY_REUSED"
    CLIENT_GONE = "CLIENT_GONE"
    STORE_FULL = "STORE_FULL"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    STOPPING = "STOPPING"
    NO_MODEL = "NO_MODEL"
    FAULT = "FAULT"

    @classmethod
    def named(cls, name: str) -> Reason | str:
        """Return the reason of this name, or the name itself, because a newer service may send unknown reasons."""
        return cls(name) if name in cls.__members__ else name


LASTING = frozenset({Reason.OUT_OF_MEMORY, Reason.MODEL_BROKEN})
"""Reasons for which a retry does not help."""
