"""OpenAI's edits and variations: pictures that start from a picture.

Source: OpenAI's specification of `POST /v1/images/edits` and `/v1/images/variations`, and what its SDKs send: forms,
whose fields are all text, or JSON with `images`.

- Of several pictures the first is edited; the others are named in the header `x-tintype-ignored`.
- A mask's transparent parts are repainted; without a mask those of the image. Without a size, the answer has the
  image's own.
- How far the result may leave the picture is our `strength`; OpenAI's clients don't send it, and get STRENGTHS.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from ..errors import InvalidValue, NotJson
from ..http.jsonbody import decoded
from . import openai, openai_events
from .dialect import Call, Dialect, Events
from .openai_types import ImagesRequest
from .reading import check_prompt, read, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

EDIT_PATHS = ("/v1/images/edits", "/images/edits")
VARIATION_PATHS = ("/v1/images/variations", "/images/variations")
MAX_PICTURES = 16
# Below a mask all is made anew; without one the composition stays, and with `input_fidelity: high` more than that.
STRENGTHS = {"masked": 1.0, "low": 0.8, "high": 0.6, "variation": 0.7}
# A variation has no prompt, and the service needs one; unguided, it hardly counts.
VARIED, UNGUIDED = "a picture", 1.0

_PICTURE = "a PNG, JPEG or WebP file, in JSON its URL, a 'data:' URL, or base64"


class EditRequest(ImagesRequest, kw_only=True):
    """What to make of a picture. A field that is null counts as absent; in forms all fields are text."""

    image: Annotated[Any, Meta(description=f"{_PICTURE}; of up to 16 the first is edited")] = None
    images: (
        Annotated[list[Any], Meta(description="a list of {image_url}, instead of 'image'", max_length=MAX_PICTURES)]
        | None
    ) = None
    mask: Annotated[Any, Meta(description=f"{_PICTURE}, as large as the picture: transparent is repainted")] = None
    input_fidelity: Literal["high", "low"] | None = None


class VariationRequest(ImagesRequest, kw_only=True):
    """A picture to make others like it. A field that is null counts as absent; in forms all fields are text."""

    image: Annotated[Any, Meta(description=_PICTURE)] = None
    mask: Annotated[Any, Meta(description=f"{_PICTURE}, as large as the image: transparent is repainted")] = None
    prompt: Annotated[str, Meta(max_length=32_000, description="none is needed")] | None = None  # type: ignore[assignment]


def parse_edit(body: Mapping[str, Any]) -> Call:
    """Return the call that a form or a JSON object asks for. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    asked = read(EditRequest, _unpacked(body), strict=False)
    key = "image" if asked.images is None else "images"
    first, *more = _pictures(asked.image if asked.images is None else asked.images, key)
    asked.image = first
    asked.mask = _mask(asked.mask)
    call = _without(openai.call(asked, unknown(EditRequest, body)), key, len(more))
    call = replace(call, alpha_strength=STRENGTHS["masked"] if asked.strength is None else asked.strength)
    _weaken(call, STRENGTHS["masked" if asked.mask else asked.input_fidelity or "low"])
    return replace(call, links=bool(call.links), names={**call.names, "image": key})


def parse_variation(body: Mapping[str, Any]) -> Call:
    """Return the call that a form or a JSON object asks for. Raises BadRequest, with the key at fault."""
    asked = read(VariationRequest, _unpacked(body), strict=False)
    asked.image, *more = _pictures(asked.image, "image")
    asked.mask = _mask(asked.mask)
    prompted, asked.prompt = bool(asked.prompt), asked.prompt or VARIED
    call = _without(openai.call(asked, unknown(VariationRequest, body)), "image", len(more))
    _weaken(call, STRENGTHS["variation"])
    if not prompted and not call.request.HasField("guidance_scale"):
        call.request.guidance_scale = UNGUIDED
    return call


def edits(dialect: Dialect) -> Dialect:
    """Return a dialect that generates as one that edits."""
    return replace(
        dialect,
        paths=EDIT_PATHS,
        parse=parse_edit,
        request_type=EditRequest,
        events=EVENTS,
        summary="Edit an image",
        forms=True,
    )


def variations(dialect: Dialect) -> Dialect:
    """Return a dialect that generates as one that varies."""
    return replace(
        dialect,
        paths=VARIATION_PATHS,
        parse=parse_variation,
        request_type=VariationRequest,
        events=None,
        summary="Make images like an image",
        forms=True,
    )


def _unpacked(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the body with a form's JSON lists decoded.

    Text that is not JSON stays, and is refused by its type.
    """
    made = dict(body)
    for key in ("loras", "embeddings"):
        if isinstance(text := body.get(key), str):
            with contextlib.suppress(NotJson):
                made[key] = decoded(text.encode())
    return made


def _without(call: Call, key: str, more: int) -> Call:
    """Return the call, which says that the pictures of `key` after the first have no effect."""
    return replace(call, idle=(*(f"{key}[{index}]" for index in range(1, more + 1)), *call.idle))


def _weaken(call: Call, strength: float) -> None:
    """Set the strength, where the client has none."""
    if not call.request.HasField("strength"):
        call.request.strength = strength


def _pictures(value: Any, param: str) -> list[str | bytes]:
    """Return the pictures of a field, at least one. Raises InvalidValue."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_PICTURES:
        raise InvalidValue(param, f"must be 1 to {MAX_PICTURES} pictures, not {len(values)}")
    return [_picture(one, param) for one in values]


def _mask(value: Any) -> str | bytes | None:
    """Return the mask; a form may send it as `mask[]`.

    Such a list has one item. Raises InvalidValue.
    """
    if isinstance(value, list) and len(value) > 1:
        raise InvalidValue("mask", f"must be one image, not {len(value)}")
    one = value[0] if isinstance(value, list) and value else value
    return _picture(one, "mask") if one else None


def _picture(value: Any, param: str) -> str | bytes:
    """Return a picture as it was given. Raises InvalidValue."""
    if isinstance(value, dict):
        value = value.get("image_url")
        if value is None:
            raise InvalidValue(param, "must have 'image_url': no files are kept here that had a 'file_id'")
    if not value or not isinstance(value, str | bytes):
        raise InvalidValue(param, f"must be {_PICTURE}")
    return value


EVENTS = Events(openai_events.edit_partial, openai_events.edit_completed)
