"""Aqueduct's variant of OpenAI's JSON: the same pictures, other errors.

Source: Aqueduct's reference of `POST /images/generations`, and the types of errors in its code. Its code answers 400 to
`url`, `stream` and unknown keys, which its reference promises; here the reference counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from . import openai
from .dialect import Dialect, Failure
from .openai_types import ErrorBody, ImagesRequest, ImagesResponse

if TYPE_CHECKING:
    from ..errors import GatewayError

NO_KEY = "Authentication Required"
# Those without a row are the server's from 500 on, and the request's below.
TYPES = {403: "permission_denied_error", 404: "not_found_error", 429: "rate_limit_error", 504: "timeout_error"}


class AqueductErrorBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong; keys that would be null are left out."""

    message: str
    type: str
    param: str | UnsetType = UNSET
    code: str | UnsetType = UNSET


class AqueductError(msgspec.Struct):
    """An error."""

    error: AqueductErrorBody


def error(exc: GatewayError) -> Failure:
    """Return an error as Aqueduct answers it: its type follows from the status."""
    failure = openai.error(exc)
    told: ErrorBody = failure.body.error
    kind = TYPES.get(exc.status, openai.SERVER if exc.status >= 500 else openai.INVALID)
    message = NO_KEY if exc.status == 401 else told.message
    body = AqueductErrorBody(message=message, type=kind, param=told.param or UNSET, code=told.code or UNSET)
    return Failure(failure.status, failure.headers, AqueductError(body))


DIALECT = Dialect(
    name="aqueduct",
    paths=openai.PATHS,
    parse=openai.parse,
    render=openai.render,
    error=error,
    request_type=ImagesRequest,
    response_type=ImagesResponse,
    error_type=AqueductError,
    events=openai.EVENTS,
)
