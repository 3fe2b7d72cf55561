"""Aqueduct's variant of OpenAI's JSON, which differs only in its errors.

Source: Aqueduct's reference of `POST /images/generations`, and the types of errors in its code. Its code answers 400 to
`url`, `stream` and unknown keys, although its reference documents them; this module follows the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from . import openai
from .dialect import Dialect, Example, Failure
from .openai_types import ErrorBody, ImagesRequest, ImagesResponse

if TYPE_CHECKING:
    from ..errors import GatewayError

NO_KEY = "Authentication Required"
# Type of error by status. Without a row, 5xx are server errors, and the others request errors.
TYPES = {403: "permission_denied_error", 404: "not_found_error", 429: "rate_limit_error", 504: "timeout_error"}


class AqueductErrorBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong; keys that would be null are left out."""

    message: Annotated[str, Meta(description="What went wrong: the field, its value, and what would be right")]
    type: Annotated[str, Meta(description="Kind of error")]
    param: Annotated[str | UnsetType, Meta(description="Field at fault")] = UNSET
    code: Annotated[str | UnsetType, Meta(description="Name of the error for programs")] = UNSET


class AqueductError(msgspec.Struct):
    """An error."""

    error: Annotated[AqueductErrorBody, Meta(description="What went wrong")]


def error(exc: GatewayError) -> Failure:
    """Return an error in Aqueduct's format; its type follows from the status."""
    failure = openai.error(exc)
    original: ErrorBody = failure.body.error
    kind = TYPES.get(exc.status, openai.SERVER_ERROR if exc.status >= 500 else openai.INVALID_REQUEST)
    message = NO_KEY if exc.status == 401 else original.message
    body = AqueductErrorBody(message=message, type=kind, param=original.param or UNSET, code=original.code or UNSET)
    return Failure(failure.status, failure.headers, AqueductError(body))


EXAMPLE = Example(
    title="Aqueduct",
    about="Aqueduct's variant of OpenAI's JSON, with its errors. OpenAI's SDK works with it.",
    body={
        "prompt": "A serene mountain lake at sunset",
        "size": "512x512",
        "response_format": "b64_json",
    },
    program="""\
import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="{base}/aqueduct/v1", api_key="none")
answer = client.images.generate(
    prompt="A serene mountain lake at sunset",
    size="512x512",
    response_format="b64_json",
)
Path("lake.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
""",
)
DIALECT = Dialect(
    name="aqueduct",
    paths=openai.PATHS,
    parse=openai.parse,
    render=openai.render,
    error=error,
    request_type=ImagesRequest,
    response_type=ImagesResponse,
    error_type=AqueductError,
    example=EXAMPLE,
    events=openai.EVENTS,
)
