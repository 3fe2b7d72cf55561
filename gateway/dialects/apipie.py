"""APIpie's variant of OpenAI's JSON: other defaults, fewer keys in the answer, its own words for errors.

Source: APIpie's reference of `POST /v1/images/generations`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from . import openai
from .dialect import Call, Dialect, Failure
from .openai_types import ErrorBody, ErrorResponse, ImagesRequest, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.v1 import image_service_pb2 as pb

    from ..errors import GatewayError

STYLE = "natural"
INVALID_PARAMETER = "invalid_parameter"
_INVALID = re.compile(r"Invalid '([^']*)': (?=must )")


class ApipiePicture(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished picture: `url` or `b64_json`."""

    url: str | UnsetType = UNSET
    b64_json: bytes | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET


class ApipieResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Finished pictures; `created` is in Unix seconds."""

    created: int
    data: list[ApipiePicture]
    usage: Usage | UnsetType = UNSET


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call that a JSON object asks for. Raises BadRequest, with the key at fault."""
    if body.get("style") is not None:
        return openai.parse(body)
    return replace(openai.parse({**body, "style": STYLE}), unasked=("style",))


def render(response: pb.GenerateImagesResponse, call: Call, created: int, links: Sequence[str] = ()) -> ApipieResponse:
    """Return the JSON of finished pictures; `created` is in Unix seconds, `links` are their URLs, if any."""
    whole = openai.render(response, call, created, links)
    pictures = [
        ApipiePicture(url=one.url, b64_json=one.b64_json, revised_prompt=one.revised_prompt) for one in whole.data
    ]
    return ApipieResponse(created=created, data=pictures, usage=whole.usage)


def error(exc: GatewayError) -> Failure:
    """Return an error with OpenAI's four keys and APIpie's codes and wording."""
    failure = openai.error(exc)
    told: ErrorBody = failure.body.error
    code = INVALID_PARAMETER if told.code == "invalid_value" or exc.reason == "EMPTY_PROMPT" else told.code
    message = _INVALID.sub(r"The '\1' parameter ", told.message)
    body = ErrorResponse(ErrorBody(message=message, type=told.type, param=told.param, code=code))
    return Failure(failure.status, failure.headers, body)


DIALECT = Dialect(
    name="apipie",
    paths=openai.PATHS[:1],
    parse=parse,
    render=render,
    error=error,
    request_type=ImagesRequest,
    response_type=ApipieResponse,
    error_type=ErrorResponse,
    events=openai.EVENTS,
)
