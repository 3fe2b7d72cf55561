"""Clip skip in a request whose model reads no layers of a CLIP: it is left out, and the response names it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .editing import find_model

if TYPE_CHECKING:
    from ..context import CallerContext
    from ..dialects import Call
    from .draft import Draft

FIELD = "clip_skip"


async def drop_clip_skip(context: CallerContext, call: Call, draft: Draft) -> tuple[Call, Draft]:
    """Return call and draft without a clip skip that has no effect on the model. Raises ServiceError."""
    if not draft.value(FIELD) or (await find_model(context, call.request.model)).clip_layer:
        return call, draft
    return replace(call, overridden=(*call.overridden, call.names.get(FIELD, FIELD))), draft.without([FIELD])
