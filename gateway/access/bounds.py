"""How much one request may ask for, where that is less than the contract allows: what a small machine can bear."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tintype.v1 import image_header

from ..errors import ServiceError
from ..uploads.previews import size_like

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.v1 import image_service_pb2 as pb

    from ..config import GatewayConfig

    Counted: TypeAlias = Callable[[pb.GenerateImagesRequest], int]

_LENGTH = "must have at most {most} characters here, not {count}"


def _pixels(request: pb.GenerateImagesRequest) -> int:
    """Return the pixels of one picture; a side that is not given counts like that of its origin, or like the other."""
    width, height = request.width, request.height
    if request.image:
        width, height = size_like(image_header.check(request.image).size, width, height)
    return (width or height) * (height or width)


# Setting, field of the contract, what is counted, and how that is said.
_BOUNDS: tuple[tuple[str, str, Counted, str], ...] = (
    ("max_images", "count", lambda request: request.count, "must be at most {most} here, not {count}"),
    ("max_pixels", "width", _pixels, "must, with the height, make at most {most} pixels here, not {count}"),
    ("max_steps", "steps", lambda request: request.steps, "must be at most {most} here, not {count}"),
    ("max_prompt", "prompt", lambda request: len(request.prompt), _LENGTH),
    ("max_prompt", "negative_prompt", lambda request: len(request.negative_prompt), _LENGTH),
)


def check(request: pb.GenerateImagesRequest, config: GatewayConfig) -> None:
    """Raise ServiceError, as the service does for what goes beyond the contract, with every field at fault."""
    faults = []
    for setting, field, counted, told in _BOUNDS:
        most, count = getattr(config, setting), counted(request)
        if 0 < most < count:
            faults.append((field, told.format(most=most, count=count)))
    if faults:
        raise ServiceError("", status=400, reason="INVALID_FIELD", violations=faults)
