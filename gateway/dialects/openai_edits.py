"""OpenAI's edits and variations: images that start from an image.

Source: OpenAI's specification of `POST /v1/images/edits` and `/v1/images/variations`, and what its SDKs send: forms,
whose fields are all text, or JSON with `images`.

- Models that edit take the images as references; models that start from an image take the first. The header
  `x-tintype-ignored` names the images that the model does not take. With a mask the first image is repainted.
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

from ..errors import NotJson
from ..http.json_request import decode_json
from . import openai, openai_events
from .dialect import Call, Dialect, Events
from .fields import EXAMPLE_URL, IMAGE_FILE, IMAGE_SCHEMA, MASK, PromptText
from .image_inputs import IMAGE_OR_LIST, OPTIONAL_IMAGE, SENT_AS, item_names, require_images
from .openai_types import ImagesRequest
from .reading import check_prompt, convert, given_keys, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

EDIT_PATHS = ("/v1/images/edits", "/images/edits")
VARIATION_PATHS = ("/v1/images/variations", "/images/variations")
# With a mask, the masked part is made anew. Without one the composition is kept; `input_fidelity: high` keeps more of
# the image.
STRENGTHS = {"masked": 1.0, "low": 0.8, "high": 0.6, "variation": 0.7}
# A variation has no prompt, but the service requires one; without guidance it has little effect.
VARIATION_PROMPT, NO_GUIDANCE = "a picture", 1.0

OptionalPrompt = Annotated[PromptText | None, Meta(description="What the images should show; it may be absent")]


class EditRequest(ImagesRequest, kw_only=True):
    """The image to edit, and how. A field that is null counts as absent; in forms all fields are text."""

    schema_extra: ClassVar = {"anyOf": [{"required": ["image"]}, {"required": ["images"]}]}

    image: Annotated[
        Any,
        Meta(
            description=f"Image to edit: {IMAGE_FILE}, or a list of these. {SENT_AS}",
            examples=[EXAMPLE_URL],
            extra_json_schema=IMAGE_OR_LIST,
        ),
    ] = None
    mask: Annotated[Any, Meta(description=MASK, extra_json_schema=OPTIONAL_IMAGE)] = None
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
    mask: Annotated[Any, Meta(description=MASK, extra_json_schema=OPTIONAL_IMAGE)] = None
    prompt: OptionalPrompt = None  # type: ignore[assignment]


def parse_edit(body: Mapping[str, Any]) -> Call:
    """Return the call of a form or a JSON object. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    body = _decode_lists(body)
    fields = convert(EditRequest, body, strict=False)
    require_images(fields.image, fields.images)
    given = fields.strength
    if given is None:
        fields.strength = STRENGTHS["masked" if fields.mask else fields.input_fidelity or "low"]
    call = openai.build_call(fields, unknown_keys(EditRequest, body), item_names(body))
    return replace(
        call,
        links=bool(call.links),
        starts=given is not None,
        start_keys=given_keys(body, "strength", "input_fidelity"),
        alpha_strength=STRENGTHS["masked"] if given is None else given,
    )


def parse_variation(body: Mapping[str, Any]) -> Call:
    """Return the call of a form or a JSON object. Raises BadRequest, with the key at fault."""
    body = _decode_lists(body)
    fields = convert(VariationRequest, body, strict=False)
    require_images(fields.image, fields.images)
    if fields.strength is None:
        fields.strength = STRENGTHS["variation"]
    if not fields.prompt:
        fields.prompt = VARIATION_PROMPT
        if (fields.guidance_scale, fields.cfg_scale, fields.cfg) == (None, None, None):
            fields.guidance_scale = NO_GUIDANCE
    call = openai.build_call(fields, unknown_keys(VariationRequest, body), item_names(body))
    return replace(call, start_keys=given_keys(body, "strength"))


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
    for key in ("loras", "embeddings", "controls", "image_prompts"):
        if isinstance(text := body.get(key), str):
            with contextlib.suppress(NotJson):
                unpacked[key] = decode_json(text.encode())
    return unpacked


EVENTS = Events(openai_events.edit_partial, openai_events.edit_completed)
