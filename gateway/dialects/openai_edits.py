"""OpenAI's edits and variations: images that start from an image.

Source: OpenAI's specification of `POST /v1/images/edits` and `/v1/images/variations`, and what its SDKs send: forms,
whose fields are all text, or JSON with `images`.

- Of several images the first is edited; the header `x-tintype-ignored` names the others.
- Transparent parts of the mask are repainted; without a mask, those of the image. Without a size, the result has the
  image's own.
- `strength`, how far the result may differ from the image, is tintype's own field. OpenAI's clients don't send it, and
  get STRENGTHS.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from ..errors import InvalidValue, NotJson
from ..http.json_request import decode_json
from . import openai, openai_events
from .dialect import Call, Dialect, Events
from .fields import EXAMPLE_URL, IMAGE_FILE, IMAGE_SCHEMA, MASK, PromptText
from .openai_types import ImagesRequest
from .reading import check_prompt, convert, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

EDIT_PATHS = ("/v1/images/edits", "/images/edits")
VARIATION_PATHS = ("/v1/images/variations", "/images/variations")
MAX_IMAGES = 16
# With a mask, the masked part is made anew. Without one the composition is kept; `input_fidelity: high` keeps more of
# the image.
STRENGTHS = {"masked": 1.0, "low": 0.8, "high": 0.6, "variation": 0.7}
# A variation has no prompt, but the service requires one; without guidance it has little effect.
VARIATION_PROMPT, NO_GUIDANCE = "a picture", 1.0

_OPTIONAL_IMAGE: dict[str, Any] = {"anyOf": [*IMAGE_SCHEMA["anyOf"], {"type": "null"}]}
_IMAGE_LIST: dict[str, Any] = {
    "type": "array",
    "items": IMAGE_SCHEMA | {"examples": [EXAMPLE_URL]},
    "minItems": 1,
    "maxItems": MAX_IMAGES,
}


OptionalPrompt = Annotated[PromptText | None, Meta(description="What the images should show; it may be absent")]


class EditRequest(ImagesRequest, kw_only=True):
    """The image to edit, and how. A field that is null counts as absent; in forms all fields are text."""

    schema_extra: ClassVar = {"anyOf": [{"required": ["image"]}, {"required": ["images"]}]}

    image: Annotated[
        Any,
        Meta(
            description=f"Image to edit: {IMAGE_FILE}, or a list of these, the first of which is edited. Or images",
            examples=[EXAMPLE_URL],
            extra_json_schema={"anyOf": [*IMAGE_SCHEMA["anyOf"], _IMAGE_LIST]},
        ),
    ] = None
    images: Annotated[
        Annotated[list[Any], Meta(description="a list of {image_url}", max_length=MAX_IMAGES)] | None,
        Meta(
            description="Instead of image: a list of {image_url}, the first of which is edited",
            extra_json_schema={"anyOf": [_IMAGE_LIST, {"type": "null"}]},
        ),
    ] = None
    mask: Annotated[Any, Meta(description=MASK, extra_json_schema=_OPTIONAL_IMAGE)] = None
    input_fidelity: Annotated[
        Literal["high", "low"] | None,
        Meta(description="high keeps more of the image", extra_json_schema={"default": "low"}),
    ] = None


class VariationRequest(ImagesRequest, kw_only=True):
    """An image to make similar images of. A field that is null counts as absent; in forms all fields are text."""

    schema_extra: ClassVar = {"required": ["image"]}

    image: Annotated[
        Any,
        Meta(
            description=f"Image to vary: {IMAGE_FILE}",
            examples=[EXAMPLE_URL],
            extra_json_schema=IMAGE_SCHEMA,
        ),
    ] = None
    mask: Annotated[Any, Meta(description=MASK, extra_json_schema=_OPTIONAL_IMAGE)] = None
    prompt: OptionalPrompt = None  # type: ignore[assignment]


def parse_edit(body: Mapping[str, Any]) -> Call:
    """Return the call of a form or a JSON object. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    fields = convert(EditRequest, _decode_lists(body), strict=False)
    key = "image" if fields.images is None else "images"
    fields.image, *others = _parse_images(fields.image if fields.images is None else fields.images, key)
    fields.mask = _parse_mask(fields.mask)
    masked = STRENGTHS["masked"] if fields.strength is None else fields.strength
    if fields.strength is None:
        fields.strength = STRENGTHS["masked" if fields.mask else fields.input_fidelity or "low"]
    call = _report_unused(openai.build_call(fields, unknown_keys(EditRequest, body)), key, len(others))
    return replace(call, links=bool(call.links), names={**call.names, "image": key}, alpha_strength=masked)


def parse_variation(body: Mapping[str, Any]) -> Call:
    """Return the call of a form or a JSON object. Raises BadRequest, with the key at fault."""
    fields = convert(VariationRequest, _decode_lists(body), strict=False)
    fields.image, *others = _parse_images(fields.image, "image")
    fields.mask = _parse_mask(fields.mask)
    if fields.strength is None:
        fields.strength = STRENGTHS["variation"]
    if not fields.prompt:
        fields.prompt = VARIATION_PROMPT
        if (fields.guidance_scale, fields.cfg_scale, fields.cfg) == (None, None, None):
            fields.guidance_scale = NO_GUIDANCE
    return _report_unused(openai.build_call(fields, unknown_keys(VariationRequest, body)), "image", len(others))


def edit_dialect(dialect: Dialect) -> Dialect:
    """Return the dialect of a vendor's edits, from that of its generations."""
    return replace(
        dialect,
        paths=EDIT_PATHS,
        parse=parse_edit,
        request_type=EditRequest,
        events=EVENTS,
        summary="Edit an image",
        forms=True,
    )


def variation_dialect(dialect: Dialect) -> Dialect:
    """Return the dialect of a vendor's variations, from that of its generations."""
    return replace(
        dialect,
        paths=VARIATION_PATHS,
        parse=parse_variation,
        request_type=VariationRequest,
        events=None,
        summary="Make images like an image",
        forms=True,
    )


def _decode_lists(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body with the JSON lists of a form decoded.

    Text that is not JSON is kept, and fails validation later.
    """
    unpacked = dict(body)
    for key in ("loras", "embeddings"):
        if isinstance(text := body.get(key), str):
            with contextlib.suppress(NotJson):
                unpacked[key] = decode_json(text.encode())
    return unpacked


def _report_unused(call: Call, key: str, count: int) -> Call:
    """Return the call with the images of `key` after the first reported as having no effect."""
    return replace(call, overridden=(*(f"{key}[{index}]" for index in range(1, count + 1)), *call.overridden))


def _parse_images(value: Any, param: str) -> list[str | bytes]:
    """Return the images of a field, at least one. Raises InvalidValue."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_IMAGES:
        raise InvalidValue(param, f"must be 1 to {MAX_IMAGES} images, not {len(values)}")
    return [_parse_image(one, param) for one in values]


def _parse_mask(value: Any) -> str | bytes | None:
    """Return the mask; a form may send it as `mask[]`, a list of one item. Raises InvalidValue."""
    if isinstance(value, list) and len(value) > 1:
        raise InvalidValue("mask", f"must be one image, not {len(value)}")
    one = value[0] if isinstance(value, list) and value else value
    return _parse_image(one, "mask") if one else None


def _parse_image(value: Any, param: str) -> str | bytes:
    """Return an image as the client sent it. Raises InvalidValue."""
    if isinstance(value, dict):
        value = value.get("image_url")
        if value is None:
            raise InvalidValue(param, "must have 'image_url'; 'file_id' is not supported, since no files are kept")
    if not value or not isinstance(value, str | bytes):
        raise InvalidValue(param, f"must be {IMAGE_FILE}")
    return value


EVENTS = Events(openai_events.edit_partial, openai_events.edit_completed)
