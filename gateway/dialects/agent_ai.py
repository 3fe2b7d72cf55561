"""agent.ai's action `generate_image`.

Source: agent.ai's API reference, and the SDK `agentai` 0.1.3. The SDK sends models and ratios that the reference does
not list: every ratio is accepted, and models are looked up in the table of names. Styles are those of the reference, in
any case and with `_` for a space; the SDK's default is one of them. The reference calls `response` an object; its own
example and both SDKs have HTML. An error is a string; an invalid key is 403.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from tintype.v1 import image_service_pb2 as pb

from ..errors import InvalidValue, ServiceError
from .dialect import Call, Dialect, Example, Failure, retry_headers
from .fields import Model, Prompt, RatioText  # noqa: TC001 - msgspec reads them
from .geometry import size_of_ratio
from .reading import check_prompt, convert, format_value, quote_choices, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..errors import GatewayError

PATHS = ("/v1/action/generate_image", "/action/generate_image")
NAMES = {"width": "model_aspect_ratio", "height": "model_aspect_ratio", "style": "model_style"}
RATIO = "9:16"
NO_STYLE = "default"
NEEDS_IMAGE = (
    "Invalid 'model': must be a model that makes images from text alone, because requests of agent.ai have no images."
)
STYLES = (NO_STYLE, "photo", "digital art", "illustration", "drawing")


class AgentAiRequest(msgspec.Struct, kw_only=True):
    """The image to make, and how. A field that is null counts as absent."""

    prompt: Prompt
    model: Annotated[Model, Meta(examples=["DALL-E 3", "FLUX.1 [schnell]"])] = None
    model_style: Annotated[
        str | None,
        Meta(
            description="Look: a preset of the model, if it has one of this name",
            examples=list(STYLES),
            extra_json_schema={
                "anyOf": [{"type": "string", "enum": list(STYLES)}, {"type": "null"}],
                "default": NO_STYLE,
            },
        ),
    ] = None
    model_aspect_ratio: Annotated[
        RatioText | None,
        Meta(
            description="WIDTH:HEIGHT, at about 1024 x 1024 pixels",
            examples=["16:9"],
            extra_json_schema={"default": RATIO},
        ),
    ] = None


class AgentAiImage(msgspec.Struct, kw_only=True):
    """One finished image."""

    prompt: Annotated[str, Meta(description="The prompt of the request")]
    url: Annotated[str, Meta(description="Link to the file; it needs no key, and expires")]


class AgentAiMetadata(msgspec.Struct):
    """The images one by one."""

    images: Annotated[list[AgentAiImage], Meta(description="The images")]


class AgentAiResponse(msgspec.Struct, kw_only=True):
    """Finished images; `response` is HTML that shows them."""

    metadata: Annotated[AgentAiMetadata, Meta(description="The images one by one")]
    response: Annotated[str, Meta(description="HTML that shows the images")]
    status: Annotated[int, Meta(description="HTTP status")] = 200


class AgentAiError(msgspec.Struct):
    """What went wrong, and the HTTP status."""

    error: Annotated[str, Meta(description="What went wrong")]
    status: Annotated[int, Meta(description="HTTP status")]


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call of a JSON object. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    fields = convert(AgentAiRequest, body)
    width, height = size_of_ratio(fields.model_aspect_ratio or RATIO, "model_aspect_ratio") or (None, None)
    request = pb.GenerateImagesRequest(
        model=fields.model,
        prompt=fields.prompt,
        width=width,
        height=height,
        style=_parse_style(fields.model_style),
        output=pb.OutputFormat(mime_type="image/png"),
    )
    return Call(request, links=True, names=NAMES, ignored=unknown_keys(AgentAiRequest, body), optional=("style",))


def _parse_style(name: str | None) -> str | None:
    """Return the preset of a style in any spelling: "Digital Art" and "digital_art" are "digital art".

    Raises InvalidValue.
    """
    style = (name or NO_STYLE).replace("_", " ").strip().lower()
    if style not in STYLES:
        raise InvalidValue("model_style", f"must be one of {quote_choices(STYLES)}, not {format_value(name)}")
    return style if style != NO_STYLE else None


def render(_: pb.GenerateImagesResponse, call: Call, __: int, links: Sequence[str] = ()) -> AgentAiResponse:
    """Return the JSON of finished images; `links` are their URLs."""
    prompt = call.request.prompt
    images = [AgentAiImage(prompt=prompt, url=url) for url in links]
    html = "".join(f'<img src="{escape(url)}" alt="{escape(prompt)}" /><br />' for url in links)
    return AgentAiResponse(metadata=AgentAiMetadata(images), response=html)


def error(exc: GatewayError) -> Failure:
    """Return an error in agent.ai's format."""
    status = 403 if exc.status == 401 else exc.status
    needs_image = isinstance(exc, ServiceError) and exc.param in ("references", "image", "mask")
    return Failure(status, retry_headers(exc), AgentAiError(NEEDS_IMAGE if needs_image else exc.message, status))


EXAMPLE = Example(
    title="agent.ai",
    about="agent.ai's action generate_image. Its responses have links, and HTML that shows the images.",
    body={
        "prompt": "A serene mountain lake at sunset",
        "model": "DALL-E 3",
        "model_style": "default",
        "model_aspect_ratio": "1:1",
    },
    program="""\
import httpx

answer = httpx.post(
    "{base}/agent.ai/v1/action/generate_image",
    json={
        "prompt": "A serene mountain lake at sunset",
        "model": "DALL-E 3",
        "model_style": "default",
        "model_aspect_ratio": "1:1",
    },
    timeout=600,
)
print(answer.raise_for_status().json()["metadata"]["images"][0]["url"])
""",
)
DIALECT = Dialect(
    name="agent.ai",
    paths=PATHS,
    parse=parse,
    render=render,
    error=error,
    request_type=AgentAiRequest,
    response_type=AgentAiResponse,
    error_type=AgentAiError,
    example=EXAMPLE,
)
