"""Oxen's image generation.

Source: Oxen's API reference; its model pages add `aspect_ratio`, `image_size`, `response_format` and
`num_inference_steps`. Each of its models has keys of its own, so unknown ones are no fault. Its errors come in two
documented shapes: both are answered at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tintype.v1 import image_service_pb2 as pb

from ..errors import EmptyPrompt, ServiceError
from .dialect import Call, Dialect, Failure
from .geometry import Ratio, Size, has_ratio, of_ratio, of_size
from .openai_types import ModelName, Seed, wanted_seed
from .reading import check_prompt, read, unknown
from .retrying import retry_headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..errors import GatewayError

PATHS = ("/api/ai/images/generate",)
PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
Preset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
Side = Annotated[int, Meta(ge=16, le=4096)]

# status: type; those without a row are the server's fault from 500 on, the request's below.
TYPES = {401: "unauthenticated", 403: "unauthenticated", 404: "resource_not_found", 429: "unknown_error"}
TITLES = {
    "unauthenticated": "Unauthenticated",
    "invalid_params": "Invalid parameters",
    "resource_not_found": "Resource not found",
    "unknown_error": "Unknown error",
}


class ImageSize(msgspec.Struct, kw_only=True):
    """Width and height in pixels."""

    width: Side
    height: Side


class OxenRequest(msgspec.Struct, kw_only=True):
    """What to draw, and how. A field that is null counts as absent."""

    prompt: Annotated[str, Meta(max_length=32_000, examples=["A serene mountain lake at sunset"])]
    model: ModelName | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Size | None = None
    aspect_ratio: Ratio | None = None
    image_size: Annotated[
        Preset | ImageSize | None,
        Meta(description=f"one of {', '.join(PRESETS)}, or {{width, height}} of 16 to 4096 pixels"),
    ] = None
    seed: Seed | None = None
    response_format: Literal["url", "b64_json"] | None = None
    num_inference_steps: Annotated[int, Meta(ge=1, le=150)] | None = None
    guidance_scale: Annotated[float, Meta(ge=0, le=50)] | None = None
    negative_prompt: Annotated[str, Meta(max_length=32_000)] | None = None


class OxenPicture(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished picture: `url` or `b64_json`."""

    url: str | UnsetType = UNSET
    b64_json: bytes | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET


class OxenResponse(msgspec.Struct, kw_only=True):
    """Finished pictures; `model` is the name that was asked for, `created` is in Unix seconds."""

    model: str
    created: int
    images: list[OxenPicture]


class OxenErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong; `message` says the same as `detail`."""

    type: str
    title: str
    detail: str
    message: str


class OxenError(msgspec.Struct, kw_only=True):
    """An error; `status_message` is its type."""

    error: OxenErrorBody
    status: str = "error"
    status_message: str


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call that a JSON object asks for. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    asked = read(OxenRequest, body)
    return Call(
        request=_request(asked),
        links=asked.response_format == "url" if asked.response_format else None,
        names=_names(asked),
        ignored=unknown(OxenRequest, body),
        idle=_overruled(asked),
        echo={"model": asked.model} if asked.model else {},
    )


def render(response: pb.GenerateImagesResponse, call: Call, created: int, links: Sequence[str] = ()) -> OxenResponse:
    """Return the JSON of finished pictures; `created` is in Unix seconds, `links` are their URLs, if any."""
    urls = links or (None,) * len(response.images)
    pictures = [_picture(image, url) for image, url in zip(response.images, urls, strict=True)]
    return OxenResponse(model=call.echo.get("model", response.model), created=created, images=pictures)


def error(exc: GatewayError) -> Failure:
    """Return an error in both of Oxen's shapes."""
    kind = TYPES.get(exc.status, "unknown_error" if exc.status >= 500 else "invalid_params")
    detail = _detail(exc)
    body = OxenErrorBody(type=kind, title=TITLES[kind], detail=detail, message=detail)
    return Failure(exc.status, retry_headers(exc), OxenError(error=body, status_message=kind))


def _request(asked: OxenRequest) -> pb.GenerateImagesRequest:
    width, height = _sides(asked) or (None, None)
    return pb.GenerateImagesRequest(
        model=asked.model,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        count=asked.n,
        width=width,
        height=height,
        steps=asked.num_inference_steps,
        guidance_scale=asked.guidance_scale,
        seed=wanted_seed(asked.seed),
        output=pb.OutputFormat(mime_type="image/png"),
    )


def _sides(asked: OxenRequest) -> tuple[int, int] | None:
    """Return width and height: `size` goes before `image_size`, and that before `aspect_ratio`."""
    return of_size(asked.size) or _named(asked) or of_ratio(asked.aspect_ratio, "aspect_ratio")


def _named(asked: OxenRequest) -> tuple[int, int] | None:
    if isinstance(asked.image_size, ImageSize):
        return asked.image_size.width, asked.image_size.height
    return PRESETS[asked.image_size] if asked.image_size else None


def _overruled(asked: OxenRequest) -> tuple[str, ...]:
    """Return the keys that say another size than the one that is made."""
    sides, ratio = _sides(asked) or (None, None), asked.aspect_ratio
    others = {
        "image_size": _named(asked) not in (None, sides),
        "aspect_ratio": ratio is not None and not has_ratio(sides, ratio, "aspect_ratio"),
    }
    return tuple(key for key, differs in others.items() if differs)


def _names(asked: OxenRequest) -> dict[str, str]:
    sides = "size" if of_size(asked.size) else "image_size" if asked.image_size else "aspect_ratio"
    return {"count": "n", "width": sides, "height": sides, "steps": "num_inference_steps"}


def _picture(image: pb.Image, url: str | None) -> OxenPicture:
    data = UNSET if url else image.data
    return OxenPicture(url=url or UNSET, b64_json=data, revised_prompt=image.revised_prompt or UNSET)


def _detail(exc: GatewayError) -> str:
    if isinstance(exc, EmptyPrompt):
        return "Prompt cannot be empty"
    if isinstance(exc, ServiceError) and exc.status == 404 and "model" in exc.facts:
        return f"Model not found: {exc.facts['model']}"
    return exc.message


DIALECT = Dialect(
    name="oxen",
    paths=PATHS,
    parse=parse,
    render=render,
    error=error,
    request_type=OxenRequest,
    response_type=OxenResponse,
    error_type=OxenError,
)
