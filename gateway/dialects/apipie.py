"""APIpie's variant of OpenAI's JSON: other defaults, fewer keys in the response, other error codes.

Source: APIpie's reference of `POST /v1/images/generations`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from tintype.v1.reasons import Reason

from . import openai
from .dialect import Call, Dialect, Example, Failure
from .openai_types import (
    Base64File,
    Created,
    ErrorBody,
    ErrorResponse,
    ImagesRequest,
    RevisedPrompt,
    Url,
    UsageField,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tintype.v1 import image_service_pb2 as pb

    from ..errors import GatewayError

STYLE = "natural"
INVALID_PARAMETER = "invalid_parameter"
_INVALID = re.compile(r"Invalid '([^']*)': (?=must )")


class ApipieImage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished image: `url` or `b64_json`."""

    url: Url = UNSET
    b64_json: Base64File = UNSET
    revised_prompt: RevisedPrompt = UNSET


class ApipieResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Finished images; `created` is in Unix seconds."""

    created: Created
    data: Annotated[list[ApipieImage], Meta(description="The images")]
    usage: UsageField = UNSET


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call of a JSON object. Raises BadRequest, with the key at fault."""
    if body.get("style") is not None:
        return openai.parse(body)
    return replace(openai.parse({**body, "style": STYLE}), implicit=("style",))


def render(response: pb.GenerateImagesResponse, call: Call, created: int, links: Sequence[str] = ()) -> ApipieResponse:
    """Return the JSON of finished images; `created` is in Unix seconds, `links` are their URLs, if any."""
    body = openai.render(response, call, created, links)
    images = [
        ApipieImage(url=image.url, b64_json=image.b64_json, revised_prompt=image.revised_prompt) for image in body.data
    ]
    return ApipieResponse(created=created, data=images, usage=body.usage)


# Reason: type and code, where they differ from OpenAI's.
KINDS: dict[str, tuple[str, str | None]] = {
    Reason.EMPTY_PROMPT: (openai.INVALID_REQUEST, INVALID_PARAMETER),
    Reason.MODERATION_BLOCKED: (openai.INVALID_REQUEST, "content_policy_violation"),
}


def error(exc: GatewayError) -> Failure:
    """Return an error with OpenAI's four keys, and APIpie's codes and wording."""
    failure = openai.error(exc)
    original: ErrorBody = failure.body.error
    kind, code = KINDS.get(exc.reason, (original.type, original.code))
    code = INVALID_PARAMETER if code == "invalid_value" else code
    message = _INVALID.sub(r"The '\1' parameter ", original.message)
    body = ErrorResponse(ErrorBody(message=message, type=kind, param=original.param, code=code))
    return Failure(failure.status, failure.headers, body)


EXAMPLE = Example(
    title="APIpie",
    about="APIpie's variant of OpenAI's JSON. OpenAI's SDK works with it.",
    body={
        "prompt": "A serene mountain lake at sunset",
        "size": "512x512",
        "steps": 20,
        "response_format": "url",
    },
    program="""\
from openai import OpenAI

client = OpenAI(base_url="{base}/apipie/v1", api_key="none")
answer = client.images.generate(
    prompt="A serene mountain lake at sunset",
    size="512x512",
    response_format="url",
    extra_body={"steps": 20},
)
print(answer.data[0].url)
""",
)
DIALECT = Dialect(
    name="apipie",
    paths=openai.PATHS[:1],
    parse=parse,
    render=render,
    error=error,
    request_type=ImagesRequest,
    response_type=ApipieResponse,
    error_type=ErrorResponse,
    example=EXAMPLE,
    events=openai.EVENTS,
)
