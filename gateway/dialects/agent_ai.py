"""agent.ai's action `generate_image`.

Source: agent.ai's API reference, and the SDK `agentai` 0.1.3. The SDK sends models and ratios that the reference does
not list: every ratio is taken, and models go through the table of names. Styles are those of the reference, in any case
and with `_` for a space; the SDK's default is one of them. The reference calls `response` an object; its own example
and both SDKs have HTML. Errors are texts; a bad key is 403.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from tintype.v1 import image_service_pb2 as pb

from ..errors import InvalidValue
from .dialect import Call, Dialect, Failure
from .geometry import Ratio, of_ratio
from .openai_types import ModelName  # noqa: TC001 - msgspec reads it
from .reading import check_prompt, listed, read, shown, unknown
from .retrying import retry_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..errors import GatewayError

PATHS = ("/v1/action/generate_image", "/action/generate_image")
NAMES = {"width": "model_aspect_ratio", "height": "model_aspect_ratio", "style": "model_style"}
RATIO = "9:16"
NO_STYLE = "default"
STYLES = (NO_STYLE, "photo", "digital art", "illustration", "drawing")


class AgentAiRequest(msgspec.Struct, kw_only=True):
    """What to draw, and how. A field that is null counts as absent."""

    prompt: Annotated[str, Meta(max_length=32_000, examples=["A serene mountain lake at sunset"])]
    model: Annotated[ModelName, Meta(examples=["DALL-E 3", "FLUX.1 [schnell]"])] | None = None
    model_style: Annotated[str, Meta(examples=list(STYLES))] | None = None
    model_aspect_ratio: Ratio | None = None


class AgentAiPicture(msgspec.Struct, kw_only=True):
    """One finished picture."""

    prompt: str
    url: str


class AgentAiMetadata(msgspec.Struct):
    """The pictures one by one."""

    images: list[AgentAiPicture]


class AgentAiResponse(msgspec.Struct, kw_only=True):
    """Finished pictures; `response` is HTML that shows them."""

    metadata: AgentAiMetadata
    response: str
    status: int = 200


class AgentAiError(msgspec.Struct):
    """What went wrong, and HTTP's status."""

    error: str
    status: int


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call that a JSON object asks for. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    asked = read(AgentAiRequest, body)
    width, height = of_ratio(asked.model_aspect_ratio or RATIO, "model_aspect_ratio") or (None, None)
    request = pb.GenerateImagesRequest(
        model=asked.model,
        prompt=asked.prompt,
        width=width,
        height=height,
        style=_style(asked.model_style),
        output=pb.OutputFormat(mime_type="image/png"),
    )
    return Call(request, links=True, names=NAMES, ignored=unknown(AgentAiRequest, body), wishes=("style",))


def _style(asked: str | None) -> str | None:
    """Return the preset that a style names, in any of its spellings.

    "Digital Art" and "digital_art" are "digital art". Raises InvalidValue.
    """
    style = (asked or NO_STYLE).replace("_", " ").strip().lower()
    if style not in STYLES:
        raise InvalidValue("model_style", f"must be one of {listed(STYLES)}, not {shown(asked)}")
    return style if style != NO_STYLE else None


def render(_: pb.GenerateImagesResponse, call: Call, __: int, links: Sequence[str] = ()) -> AgentAiResponse:
    """Return the JSON of finished pictures; `links` are their URLs."""
    prompt = call.request.prompt
    pictures = [AgentAiPicture(prompt=prompt, url=url) for url in links]
    html = "".join(f'<img src="{escape(url)}" alt="{escape(prompt)}" /><br />' for url in links)
    return AgentAiResponse(metadata=AgentAiMetadata(pictures), response=html)


def error(exc: GatewayError) -> Failure:
    """Return an error as agent.ai answers it."""
    status = 403 if exc.status == 401 else exc.status
    return Failure(status, retry_headers(exc), AgentAiError(exc.message, status))


DIALECT = Dialect(
    name="agent.ai",
    paths=PATHS,
    parse=parse,
    render=render,
    error=error,
    request_type=AgentAiRequest,
    response_type=AgentAiResponse,
    error_type=AgentAiError,
)
