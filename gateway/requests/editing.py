"""Images of a request: whether the result starts from them or refers to them, as the model takes them.

- With a mask the first image is repainted; the others are references, as far as the model takes any.
- A model that takes references gets all images as references. If the request asks to start from the first one, by a
  strength of its own, and the model can, it does.
- Any other model starts from the first image.
- Images that the model does not take have no effect, and the response names them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb

from ..errors import ServiceError

if TYPE_CHECKING:
    from ..context import CallerContext
    from ..dialects import Call
    from .draft import Draft


async def place_images(context: CallerContext, call: Call, draft: Draft) -> tuple[Call, Draft]:
    """Return call and draft with the images to edit among the uploads, as the model takes them. Raises ServiceError."""
    if not call.images:
        return call, draft
    is_clear = len(call.images) == 1 and "mask" in call.uploads
    model = pb.Model() if is_clear else await find_model(context, call.request.model)
    return arrange(call, draft, model)


async def find_model(context: CallerContext, name: str) -> pb.Model:
    """Return the model of a client's name as of the last seconds, or its fallback. Raises ServiceError.

    An unknown model takes nothing: the request itself then fails as usual.
    """
    for known in (context.names.resolve(name), context.names.fallback(context.names.resolve(name))):
        try:
            return await context.client.known_model(known) if known is not None else pb.Model()
        except ServiceError as error:
            if error.status != 404:
                raise
    return pb.Model()


def arrange(call: Call, draft: Draft, model: pb.Model) -> tuple[Call, Draft]:
    """Return call and draft with the images to edit among the uploads, as `model` takes them."""
    starts = "mask" in call.uploads or not model.max_references or (call.starts and model.image_to_image)
    begin = int(starts)
    rest = call.images[begin:]
    placed = {f"references[{index}]": image for index, image in enumerate(rest[: model.max_references])}
    if starts:
        placed = {"image": call.images[0], **placed}
    unused = tuple(image.key for image in rest[model.max_references :])
    call = replace(
        call,
        images=(),
        uploads={**{place: image.source for place, image in placed.items()}, **call.uploads},
        names={**call.names, **{place: image.key for place, image in placed.items()}},
        overridden=(*unused, *call.overridden, *(() if starts else call.start_keys)),
        alpha_strength=call.alpha_strength if starts else None,
    )
    return call, draft if starts else draft.without(["strength"])
