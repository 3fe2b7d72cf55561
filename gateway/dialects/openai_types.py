"""The JSON of OpenAI's Images API as types: they validate it, and they describe it in `openapi.json`.

Fields that are not OpenAI's are at the end of each type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .fields import (
    IMAGE_FILE,
    AspectRatio,
    Count,
    GuidanceScale,
    GuidanceSynonym,
    Height,
    Mask,
    Model,
    ModelName,
    NegativePrompt,
    OptionName,
    Prompt,
    Quality,
    ResponseFormat,
    Seed,
    Size,
    Steps,
    StepsSynonym,
    Strength,
    Style,
    Width,
)
from .image_inputs import IMAGE_LIST, OPTIONAL_IMAGE, SENT_AS, ClipSkip, Controls, ImagePrompts, Images

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

# All values that OpenAI's schemas of responses and events allow.
SIZES = {"1024x1024", "1024x1536", "1536x1024"}
QUALITIES = {"low", "medium", "high"}

Created = Annotated[int, Meta(description="When the images were made, in Unix seconds")]
Url = Annotated[str | UnsetType, Meta(description="Link to the file; it needs no key, and expires")]
Base64File = Annotated[bytes | UnsetType, Meta(description="The file in base64")]
RevisedPrompt = Annotated[
    str | UnsetType, Meta(description="The prompt that was used, if it is not the one of the request")
]


class Lora(msgspec.Struct, kw_only=True):
    """An adapter and its weight."""

    name: Annotated[ModelName, Meta(description="Name of the adapter")]
    weight: Annotated[
        Annotated[float, Meta(ge=-4, le=4)] | None,
        Meta(description="Factor of the adapter's change", extra_json_schema={"default": 1}),
    ] = None


class ImagesRequest(msgspec.Struct, kw_only=True):
    """The image to make, and how. A field that is null counts as absent.

    `image` and `images` are images to edit, or to start from, `mask` the part of the first to repaint: transparent, or
    white if nothing is transparent.
    """

    prompt: Prompt
    model: Model = None
    n: Count = None
    size: Size = None
    quality: Quality = None
    style: Style = None
    response_format: ResponseFormat = None
    output_format: Annotated[
        Literal["png", "jpeg", "webp"] | None,
        Meta(description="File type of the images", extra_json_schema={"default": "png"}),
    ] = None
    output_compression: Annotated[
        Annotated[int, Meta(ge=0, le=100)] | None,
        Meta(
            description="Quality of JPEG and WebP files, from 0, the smallest, to 100, the best; no effect on PNG",
            extra_json_schema={"default": 100},
        ),
    ] = None
    background: Annotated[
        Literal["transparent", "opaque", "auto"] | None,
        Meta(
            description="transparent adds an alpha channel to PNG; it is opaque, because models draw no transparency",
            extra_json_schema={"default": "auto"},
        ),
    ] = None
    moderation: Annotated[
        Literal["low", "auto"] | None,
        Meta(description="No effect: the server's settings apply", extra_json_schema={"default": "auto"}),
    ] = None
    stream: Annotated[
        bool | None,
        Meta(
            description="Whether to send events, one for each preview and image, instead of one response",
            extra_json_schema={"default": False},
        ),
    ] = None
    partial_images: Annotated[
        Annotated[int, Meta(ge=0, le=3)] | None,
        Meta(description="Number of previews of each image in a stream", extra_json_schema={"default": 0}),
    ] = None
    user: Annotated[
        str | None,
        Meta(
            description="Name of the end user: the queue is fair between users. "
            "Absent: the key's name, or the client's address"
        ),
    ] = None
    safety_identifier: Annotated[str | None, Meta(description="Another name for user")] = None
    seed: Seed = None
    negative_prompt: NegativePrompt = None
    steps: Steps = None
    num_inference_steps: StepsSynonym = None
    guidance_scale: GuidanceScale = None
    cfg_scale: GuidanceSynonym = None
    cfg: GuidanceSynonym = None
    aspect_ratio: AspectRatio = None
    width: Width = None
    height: Height = None
    sampler: Annotated[OptionName | None, Meta(description="Name of the sampler. Absent: the model's own")] = None
    schedule: Annotated[
        OptionName | None,
        Meta(description="Name of the schedule, the spacing of noise levels. Absent: the model's own"),
    ] = None
    strength: Strength = None
    image: Annotated[
        Any,
        Meta(
            description=f"Image to edit, or to start from: {IMAGE_FILE}, or a list of these; with strength the result "
            f"starts from the first, if the model can. {SENT_AS}. Absent: pure noise",
            extra_json_schema={"anyOf": [*OPTIONAL_IMAGE["anyOf"], IMAGE_LIST]},
        ),
    ] = None
    images: Images = None
    mask: Mask = None
    provider: Annotated[str | None, Meta(description="No effect: the server has one provider")] = None
    loras: Annotated[
        Annotated[list[Lora], Meta(description="a list of at most 8 {name, weight -4 to 4}", max_length=8)] | None,
        Meta(description="Adapters to apply; their weights add up. Absent: none"),
    ] = None
    embeddings: Annotated[
        Annotated[list[str], Meta(description="a list of at most 8 names", max_length=8)] | None,
        Meta(description="Embeddings (textual inversion): their names in the prompts are their vectors. Absent: none"),
    ] = None
    controls: Controls = None
    image_prompts: ImagePrompts = None
    clip_skip: ClipSkip = None
    prompt_weighting: Annotated[
        bool | None,
        Meta(
            description="Whether both prompts have the web UI's syntax: (word:1.3), [from:to:when], BREAK",
            extra_json_schema={"default": False},
        ),
    ] = None


class OpenAiImage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished image: `url` or `b64_json`, and the seed that makes it again."""

    url: Url = UNSET
    b64_json: Base64File = UNSET
    revised_prompt: RevisedPrompt = UNSET
    seed: Annotated[int | UnsetType, Meta(description="The seed that makes the image again")] = UNSET


class InputDetails(msgspec.Struct, kw_only=True):
    """Tokens of the input, by kind."""

    text_tokens: Annotated[int, Meta(description="Tokens of the prompt")]
    image_tokens: Annotated[int, Meta(description="0: images do not consist of tokens")]


class Usage(msgspec.Struct, kw_only=True):
    """Tokens used; clients that read it need all of its fields."""

    total_tokens: Annotated[int, Meta(description="Tokens of input and output")]
    input_tokens: Annotated[int, Meta(description="Tokens of the prompt")]
    output_tokens: Annotated[int, Meta(description="0: images do not consist of tokens")]
    input_tokens_details: Annotated[InputDetails, Meta(description="Tokens of the input, by kind")]


UsageField = Annotated[Usage | UnsetType, Meta(description="Tokens used")]


class ImagesResponse(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Finished images; `created` is in Unix seconds."""

    created: Created
    data: Annotated[list[OpenAiImage], Meta(description="The images")]
    background: Annotated[str | UnsetType, Meta(description="opaque, if the request names a background")] = UNSET
    output_format: Annotated[str | UnsetType, Meta(description="File type: png, jpeg or webp")] = UNSET
    size: Annotated[str | UnsetType, Meta(description="WIDTHxHEIGHT, if OpenAI lists this size")] = UNSET
    quality: Annotated[str | UnsetType, Meta(description="The preset that was used, if OpenAI lists it")] = UNSET
    usage: UsageField = UNSET
    safety_identifier: Annotated[str | UnsetType, Meta(description="safety_identifier of the request")] = UNSET


class ErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong; all four keys are always there."""

    message: Annotated[str, Meta(description="What went wrong: the field, its value, and what would be right")]
    type: Annotated[str, Meta(description="Kind of error")]
    param: Annotated[str | None, Meta(description="Field at fault, or null")]
    code: Annotated[str | None, Meta(description="Name of the error for programs, or null")]


class ErrorResponse(msgspec.Struct):
    """An error."""

    error: Annotated[ErrorBody, Meta(description="What went wrong")]


def parse_seed(seed: int | None) -> int | None:
    """Return the seed of a request; None for a random one."""
    return None if seed == -1 else seed


def render_usage(usage: pb.Usage) -> Usage:
    """Return the tokens of the prompt; the output has none, since images do not consist of tokens."""
    tokens = usage.prompt_tokens
    details = InputDetails(text_tokens=tokens, image_tokens=0)
    return Usage(total_tokens=tokens, input_tokens=tokens, output_tokens=0, input_tokens_details=details)
