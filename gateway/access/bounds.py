"""Configured limits of one request (images, pixels, steps, prompt length), below those of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tintype.v1 import image_header
from tintype.v1.limits import UPSCALE_FACTORS
from tintype.v1.reasons import Reason

from ..errors import ServiceError
from ..uploads.previews import size_from_start_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.v1 import image_service_pb2 as pb

    from ..config import GatewayConfig

    FieldSize: TypeAlias = Callable[[pb.GenerateImagesRequest], int]

# Pixels of a result that has the shape of an image to edit: models edit at about this size.
_EDITED_PIXELS = 1024 * 1024
_LENGTH_MESSAGE = "must have at most {limit} characters here, not {count}"


def _pixels_per_image(request: pb.GenerateImagesRequest) -> int:
    """Return the pixels of one image; a missing side is the start image's, otherwise equal to the other side."""
    width, height = request.width, request.height
    if request.image:
        width, height = size_from_start_image(image_header.check(request.image).size, width, height)
    elif request.references and not (width or height):
        return _EDITED_PIXELS
    return (width or height) * (height or width)


# Setting, field of the contract, function that measures the field, message.
_BOUNDS: tuple[tuple[str, str, FieldSize, str], ...] = (
    ("max_images", "count", lambda request: request.count, "must be at most {limit} here, not {count}"),
    ("max_pixels", "width", _pixels_per_image, "must, with the height, make at most {limit} pixels here, not {count}"),
    ("max_steps", "steps", lambda request: request.steps, "must be at most {limit} here, not {count}"),
    ("max_prompt", "prompt", lambda request: len(request.prompt), _LENGTH_MESSAGE),
    ("max_prompt", "negative_prompt", lambda request: len(request.negative_prompt), _LENGTH_MESSAGE),
)


def check_upscale(request: pb.UpscaleImageRequest, config: GatewayConfig) -> None:
    """Raise ServiceError if an enlarged image would have more pixels than the configuration allows."""
    width, height = image_header.check(request.image).size
    count = width * height * (request.factor or min(UPSCALE_FACTORS)) ** 2
    if 0 < config.max_pixels < count:
        problem = f"must give at most {config.max_pixels} pixels here, not {count}"
        raise ServiceError("", status=400, reason=Reason.INVALID_FIELD, violations=[("factor", problem)])


def check(request: pb.GenerateImagesRequest, config: GatewayConfig) -> None:
    """Raise ServiceError, as the service does for invalid fields, naming every field above its limit."""
    violations = []
    for setting, field, size_of, message in _BOUNDS:
        limit, count = getattr(config, setting), size_of(request)
        if 0 < limit < count:
            violations.append((field, message.format(limit=limit, count=count)))
    if violations:
        raise ServiceError("", status=400, reason=Reason.INVALID_FIELD, violations=violations)
