"""What S3 and its client library call what goes wrong, and what it means here: one line for whoever starts the gateway.

While it serves, clients hear only that results can't be kept; the reason is for the log.
"""

from __future__ import annotations

import logging

from aiohttp import ClientError as BrokenOff
from botocore.exceptions import BotoCoreError, ClientError

from ..errors import StoreFull, StoreUnavailable

log = logging.getLogger(__name__)

CONNECT, SILENCE, PATIENCE = 5.0, 15.0, 40.0  # seconds: to connect, without a byte, for one operation in all

BROKEN = (ClientError, BotoCoreError, BrokenOff, TimeoutError, OSError)
_FULL = {
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "EntityTooLarge",
    "InsufficientStorage",
}
GONE = {"NoSuchKey", "404"}
TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
# Error codes of S3 and exceptions of its client library, as messages at start.
_WHY = {
    "NoSuchBucket": "there is no such bucket: create it first",
    "AccessDenied": "these credentials may not list, read, write and delete there (AccessDenied)",
    "InvalidAccessKeyId": "the access key is unknown there (InvalidAccessKeyId)",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key (SignatureDoesNotMatch)",
    "NoCredentialsError": "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is missing",
    "EndpointConnectionError": "nothing answers at the endpoint",
    "ConnectTimeoutError": f"the endpoint can't be reached within {CONNECT:g} s",
    "ReadTimeoutError": f"the endpoint sends nothing for {SILENCE:g} s",
    "TimeoutError": f"it takes longer than {PATIENCE:g} s",
}


def code(error: BaseException) -> str:
    """Return S3's code of an error, or the name of its client library's exception."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def why(error: BaseException) -> str:
    """Return what is wrong, in one line."""
    return _WHY.get(code(error)) or " ".join(str(error).split()) or type(error).__name__


def failure(error: Exception) -> StoreFull | StoreUnavailable:
    """Log the error; return the one for the client."""
    log.warning("cannot store or read results: %s", why(error))
    return StoreFull() if code(error) in _FULL else StoreUnavailable()
