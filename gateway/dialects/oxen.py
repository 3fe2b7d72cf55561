"""Oxen's generation and editing of images.

Source: Oxen's API reference; its model pages add `aspect_ratio`, `image_size`, `response_format` and
`num_inference_steps`. Each of its models has its own keys, so unknown keys are not an error. Its reference documents
two formats of errors: each error has the keys of both.

`POST /api/ai/images/edit` takes {model, prompt, image, mask, n, size}; its `strength` is tintype's own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta

from tintype.v1 import image_service_pb2 as pb

from ..errors import EmptyPrompt, InvalidValue, ServiceError
from . import image_inputs
from .dialect import Call, Dialect, Example, Failure, retry_headers
from .fields import (
    EXAMPLE_URL,
    IMAGE_FILE,
    AspectRatio,
    Count,
    GuidanceScale,
    Mask,
    Model,
    NegativePrompt,
    Prompt,
    ResponseFormat,
    Seed,
    Side,
    Size,
    StepsSynonym,
    Strength,
)
from .geometry import has_ratio, parse_size, size_of_ratio
from .openai_edits import STRENGTHS
from .openai_types import Base64File, Created, RevisedPrompt, Url, parse_seed
from .reading import check_prompt, convert, given_keys, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..errors import GatewayError

PATHS = ("/api/ai/images/generate",)
EDIT_PATHS = ("/api/ai/images/edit",)
PRESETS = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
Preset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]

# status: type; without a row, statuses from 500 on are server errors, the rest request errors
TYPES = {401: "unauthenticated", 403: "unauthenticated", 404: "resource_not_found", 429: "unknown_error"}
TITLES = {
    "unauthenticated": "Unauthenticated",
    "invalid_params": "Invalid parameters",
    "resource_not_found": "Resource not found",
    "unknown_error": "Unknown error",
}


class ImageSize(msgspec.Struct, kw_only=True):
    """Width and height in pixels."""

    width: Annotated[Side, Meta(description="Width in pixels")]
    height: Annotated[Side, Meta(description="Height in pixels")]


class OxenRequest(msgspec.Struct, kw_only=True):
    """The image to make, and how. A field that is null counts as absent."""

    prompt: Prompt
    model: Model = None
    n: Count = None
    size: Size = None
    aspect_ratio: AspectRatio = None
    image_size: Annotated[
        Preset | Annotated[ImageSize, Meta(description="{width, height} of 16 to 4096 pixels")] | None,
        Meta(description="Another name for size: a preset, or width and height"),
    ] = None
    seed: Seed = None
    response_format: ResponseFormat = None
    num_inference_steps: StepsSynonym = None
    guidance_scale: GuidanceScale = None
    negative_prompt: NegativePrompt = None
    controls: image_inputs.Controls = None
    image_prompts: image_inputs.ImagePrompts = None
    clip_skip: image_inputs.ClipSkip = None


class OxenEditRequest(OxenRequest, kw_only=True):
    """The image to edit, and how; transparent parts of `mask` are repainted. A field that is null counts as absent."""

    schema_extra: ClassVar = {"required": ["prompt", "image"]}

    image: Annotated[
        Any,
        Meta(
            description=f"Image to edit: {IMAGE_FILE}, or a list of these. {image_inputs.SENT_AS}",
            examples=[EXAMPLE_URL],
            extra_json_schema=image_inputs.IMAGE_OR_LIST,
        ),
    ] = None
    mask: Mask = None
    strength: Strength = None


class OxenImage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One finished image: `url` or `b64_json`."""

    url: Url = UNSET
    b64_json: Base64File = UNSET
    revised_prompt: RevisedPrompt = UNSET


class OxenResponse(msgspec.Struct, kw_only=True):
    """Finished images; `model` is the name in the request, `created` is in Unix seconds."""

    model: Annotated[str, Meta(description="Name of the model in the request, or of the default model")]
    created: Created
    images: Annotated[list[OxenImage], Meta(description="The images")]


class OxenErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong; `message` repeats `detail`."""

    type: Annotated[str, Meta(description="Kind of error")]
    title: Annotated[str, Meta(description="Kind of error, as a title")]
    detail: Annotated[str, Meta(description="What went wrong")]
    message: Annotated[str, Meta(description="What went wrong: the field, its value, and what would be right")]


class OxenError(msgspec.Struct, kw_only=True):
    """An error; `status_message` is its type."""

    error: Annotated[OxenErrorBody, Meta(description="What went wrong")]
    status: Annotated[str, Meta(description="'error'")] = "error"
    status_message: Annotated[str, Meta(description="Kind of error")]


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call of a JSON object. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    return _build_call(convert(OxenRequest, body), unknown_keys(OxenRequest, body))


def parse_edit(body: Mapping[str, Any]) -> Call:
    """Return the call of a JSON object. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    fields = convert(OxenEditRequest, body)
    if fields.image is None and body.get("images") is not None:
        raise InvalidValue("image", "is missing: send the images as 'image', which may be a list, not as 'images'")
    images = image_inputs.require_images(fields.image)
    given = fields.strength
    masked, unmasked = (STRENGTHS[name] if given is None else given for name in ("masked", "low"))
    call = _build_call(fields, unknown_keys(OxenEditRequest, body), masked if fields.mask else unmasked)
    return replace(
        call,
        names={**call.names, **image_inputs.image_names(images)},
        images=images,
        starts=given is not None,
        start_keys=given_keys(body, "strength"),
        uploads=image_inputs.collect_uploads(fields, fields.mask),
        alpha_strength=masked,
    )


def render(response: pb.GenerateImagesResponse, call: Call, created: int, links: Sequence[str] = ()) -> OxenResponse:
    """Return the JSON of finished images; `created` is in Unix seconds, `links` are their URLs, if any."""
    urls = links or (None,) * len(response.images)
    images = [_render_image(image, url) for image, url in zip(response.images, urls, strict=True)]
    return OxenResponse(model=call.echo.get("model", response.model), created=created, images=images)


def error(exc: GatewayError) -> Failure:
    """Return an error with the keys of both of Oxen's formats."""
    kind = TYPES.get(exc.status, "unknown_error" if exc.status >= 500 else "invalid_params")
    detail = _detail(exc)
    body = OxenErrorBody(type=kind, title=TITLES[kind], detail=detail, message=detail)
    return Failure(exc.status, retry_headers(exc), OxenError(error=body, status_message=kind))


def _build_call(fields: OxenRequest, ignored: tuple[str, ...], strength: float | None = None) -> Call:
    return Call(
        request=_build_request(fields, strength),
        links=fields.response_format == "url" if fields.response_format else None,
        names=_names(fields),
        ignored=ignored,
        overridden=_overridden(fields),
        uploads=image_inputs.collect_uploads(fields),
        echo={"model": fields.model} if fields.model else {},
    )


def _build_request(fields: OxenRequest, strength: float | None) -> pb.GenerateImagesRequest:
    width, height = _sides(fields) or (None, None)
    return pb.GenerateImagesRequest(
        model=fields.model,
        prompt=fields.prompt,
        negative_prompt=fields.negative_prompt,
        count=fields.n,
        width=width,
        height=height,
        steps=fields.num_inference_steps,
        guidance_scale=fields.guidance_scale,
        seed=parse_seed(fields.seed),
        strength=strength,
        output=pb.OutputFormat(mime_type="image/png"),
        **image_inputs.control_fields(fields),
    )


def _sides(fields: OxenRequest) -> tuple[int, int] | None:
    """Return width and height: `size` overrides `image_size`, and that overrides `aspect_ratio`."""
    return parse_size(fields.size) or _image_size(fields) or size_of_ratio(fields.aspect_ratio, "aspect_ratio")


def _image_size(fields: OxenRequest) -> tuple[int, int] | None:
    if isinstance(fields.image_size, ImageSize):
        return fields.image_size.width, fields.image_size.height
    return PRESETS[fields.image_size] if fields.image_size else None


def _overridden(fields: OxenRequest) -> tuple[str, ...]:
    """Return the keys whose size differs from the requested one."""
    sides, ratio = _sides(fields) or (None, None), fields.aspect_ratio
    others = {
        "image_size": _image_size(fields) not in (None, sides),
        "aspect_ratio": ratio is not None and not has_ratio(sides, ratio, "aspect_ratio"),
    }
    return tuple(key for key, differs in others.items() if differs)


def _names(fields: OxenRequest) -> dict[str, str]:
    sides = "size" if parse_size(fields.size) else "image_size" if fields.image_size else "aspect_ratio"
    return {"count": "n", "width": sides, "height": sides, "steps": "num_inference_steps", "references": "image"}


def _render_image(image: pb.Image, url: str | None) -> OxenImage:
    data = UNSET if url else image.data
    return OxenImage(url=url or UNSET, b64_json=data, revised_prompt=image.revised_prompt or UNSET)


def _detail(exc: GatewayError) -> str:
    if isinstance(exc, EmptyPrompt):
        return "Prompt cannot be empty"
    if isinstance(exc, ServiceError) and exc.status == 404 and "model" in exc.facts:
        return f"Model not found: {exc.facts['model']}"
    return exc.message


EXAMPLE = Example(
    title="Oxen",
    about="Oxen's image generation. Its responses have images instead of OpenAI's data.",
    body={
        "prompt": "A serene mountain lake at sunset",
        "size": "512x512",
        "num_inference_steps": 20,
        "response_format": "url",
    },
    program="""\
import httpx

answer = httpx.post(
    "{base}/oxen/api/ai/images/generate",
    json={
        "prompt": "A serene mountain lake at sunset",
        "size": "512x512",
        "num_inference_steps": 20,
        "response_format": "url",
    },
    timeout=600,
)
print(answer.raise_for_status().json()["images"][0]["url"])
""",
)
DIALECT = Dialect(
    name="oxen",
    paths=PATHS,
    parse=parse,
    render=render,
    error=error,
    request_type=OxenRequest,
    response_type=OxenResponse,
    error_type=OxenError,
    example=EXAMPLE,
)
EDIT_DIALECT = replace(
    DIALECT, paths=EDIT_PATHS, parse=parse_edit, request_type=OxenEditRequest, summary="Edit an image"
)
