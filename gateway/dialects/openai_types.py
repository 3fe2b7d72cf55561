"""The JSON of OpenAI's Images and Models API as types: they validate, and they describe the API in openapi.json.

Fields that are not OpenAI's are at the end of each type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .geometry import Ratio, Size  # noqa: TC001 - msgspec reads them

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

Steps = Annotated[int, Meta(ge=1, le=150)]
Guidance = Annotated[float, Meta(ge=0, le=50)]
Picked = Annotated[
    str,
    Meta(
        description="a PNG, JPEG or WebP file: its URL, a 'data:' URL, or base64",
    ),
]
Side = Annotated[int, Meta(ge=16, le=4096)]
Seed = Annotated[int, Meta(ge=-1, le=2**63 - 1)]  # -1: any, as other servers have it
ModelName = Annotated[str, Meta(max_length=256)]
Choice = Annotated[str, Meta(max_length=100)]  # name of a sampler or a schedule
Named = Annotated[str, Meta(max_length=100, description="name of a preset: a vendor's, or one of the model's own")]


# All that OpenAI's schemas of answers and events allow.
SIZES = {"1024x1024", "1024x1536", "1536x1024"}
QUALITIES = {"low", "medium", "high"}


class Lora(msgspec.Struct, kw_only=True):
    """An adapter and how much of it."""

    name: ModelName
    weight: Annotated[float, Meta(ge=-4, le=4)] | None = None


class ImagesRequest(msgspec.Struct, kw_only=True):
    """What to draw, and how. A field that is null counts as absent.

    `image` is what to start from, `mask` what of it to repaint: transparent, or white where nothing is transparent.
    """

    prompt: Annotated[str, Meta(max_length=32_000, examples=["A serene mountain lake at sunset"])]
    model: ModelName | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Size | None = None
    quality: (
        Annotated[Named, Meta(examples=["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"])] | None
    ) = None
    style: Annotated[Named, Meta(examples=["vivid", "natural"])] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    seed: Seed | None = None
    negative_prompt: Annotated[str, Meta(max_length=32_000)] | None = None
    steps: Steps | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    cfg_scale: Guidance | None = None
    cfg: Guidance | None = None
    aspect_ratio: Ratio | None = None
    width: Side | None = None
    height: Side | None = None
    sampler: Choice | None = None
    schedule: Choice | None = None
    strength: Annotated[float, Meta(ge=0, le=1)] | None = None
    image: Picked | None = None
    mask: Picked | None = None
    provider: Annotated[str, Meta(description="without effect: there is one provider here")] | None = None
    loras: Annotated[list[Lora], Meta(description="a list of {name, weight -4 to 4}", max_length=8)] | None = None
    embeddings: Annotated[list[str], Meta(description="a list of names", max_length=8)] | None = None


class Picture(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished picture: `url` or `b64_json`, and the seed that makes it again."""

    url: str | UnsetType = UNSET
    b64_json: bytes | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET
    seed: int | UnsetType = UNSET


class InputDetails(msgspec.Struct, kw_only=True):
    """Tokens of the input, by kind."""

    text_tokens: int
    image_tokens: int


class Usage(msgspec.Struct, kw_only=True):
    """Tokens used; clients that read it need all of it."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_tokens_details: InputDetails


def wanted_seed(seed: int | None) -> int | None:
    """Return the seed that is asked for; None where any will do."""
    return None if seed == -1 else seed


def render_usage(usage: pb.Usage) -> Usage:
    """Return the tokens of the prompt; pictures are not made of tokens here, so the output has none."""
    tokens = usage.prompt_tokens
    details = InputDetails(text_tokens=tokens, image_tokens=0)
    return Usage(total_tokens=tokens, input_tokens=tokens, output_tokens=0, input_tokens_details=details)


class ImagesResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Finished pictures; `created` is in Unix seconds."""

    created: int
    data: list[Picture]
    background: str | UnsetType = UNSET
    output_format: str | UnsetType = UNSET
    size: str | UnsetType = UNSET
    quality: str | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET


class ErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong: all four keys, always."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(msgspec.Struct):
    """An error."""

    error: ErrorBody
