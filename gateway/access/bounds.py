"""Configured limits of one request (images, pixels, steps, prompt length), below those of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tintype.v1 import image_header
from tintype.v1.reasons import Reason

from ..errors import ServiceError
from ..uploads.previews import size_like

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.v1 import image_service_pb2 as pb

    from ..config import GatewayConfig

    Count: TypeAlias = Callable[[pb.GenerateImagesRequest], int]

_LENGTH = "must have at most {most} characters here, not {count}"


def _pixels(request: pb.GenerateImagesRequest) -> int:
    """Return the pixels of one image; a missing side follows from the start image, or equals the other side."""
    width, height = request.width, request.height
    if request.image:
        width, height = size_like(image_header.check(request.image).size, width, height)
    return (width or height) * (height or width)


# Setting, field of the contract, the counted quantity, the message.
_BOUNDS: tuple[tuple[str, str, Count, str], ...] = (
    ("max_images", "count", lambda request: request.count, "must be at most {most} here, not {count}"),
    ("max_pixels", "width", _pixels, "must, with the height, make at most {most} pixels here, not {count}"),
    ("max_steps", "steps", lambda request: request.steps, "must be at most {most} here, not {count}"),
    ("max_prompt", "prompt", lambda request: len(request.prompt), _LENGTH),
    ("max_prompt", "negative_prompt", lambda request: len(request.negative_prompt), _LENGTH),
)


def check(request: pb.GenerateImagesRequest, config: GatewayConfig) -> None:
    """Raise ServiceError, as the service does for invalid fields, naming every field above its limit."""
    faults = []
    for setting, field, count_of, message in _BOUNDS:
        most, count = getattr(config, setting), count_of(request)
        if 0 < most < count:
            faults.append((field, message.format(most=most, count=count)))
    if faults:
        raise ServiceError("", status=400, reason=Reason.INVALID_FIELD, violations=faults)
