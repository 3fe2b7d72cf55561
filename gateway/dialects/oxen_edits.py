"""Oxen's editing of pictures: its generation, and a picture to start from.

Source: Oxen's `POST /api/ai/images/edit`, {model, prompt, image, mask, n, size}. `strength` is ours.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from ..errors import InvalidValue
from . import oxen
from .openai import given
from .openai_edits import STRENGTHS
from .openai_types import Picked  # noqa: TC001 - msgspec reads it
from .reading import read, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .dialect import Call

PATHS = ("/api/ai/images/edit",)


class OxenEditRequest(oxen.OxenRequest, kw_only=True):
    """What to make of a picture; of `mask`, transparent is repainted. A field that is null counts as absent."""

    image: Picked | None = None
    mask: Picked | None = None
    strength: Annotated[float, Meta(ge=0, le=1)] | None = None


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call that a JSON object asks for. Raises BadRequest, with the key at fault."""
    call = oxen.parse(body)
    asked = read(OxenEditRequest, body)
    if not asked.image:
        raise InvalidValue("image", "must be the URL of the picture to edit")
    masked, usual = (STRENGTHS[name] if asked.strength is None else asked.strength for name in ("masked", "low"))
    call.request.strength = masked if asked.mask else usual
    pictures = given(image=asked.image, mask=asked.mask)
    return replace(call, pictures=pictures, ignored=unknown(OxenEditRequest, body), alpha_strength=masked)


DIALECT = replace(oxen.DIALECT, paths=PATHS, parse=parse, request_type=OxenEditRequest, summary="Edit an image")
