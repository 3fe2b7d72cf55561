"""Enlarge an image by plain resampling, without a model (`POST /extra-single-image`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from tintype.v1.limits import MAX_UPLOAD_PIXELS, MAX_UPLOAD_SIDE

from ..errors import InvalidValue
from .init_image import decode, encode
from .response_types import UpscaleResponse

if TYPE_CHECKING:
    from .request_types import UpscaleRequest

NONE, LANCZOS, NEAREST = "None", "Lanczos", "Nearest"
METHODS = {LANCZOS: Image.Resampling.LANCZOS, NEAREST: Image.Resampling.NEAREST}


def list_upscalers() -> list[dict[str, Any]]:
    """Return the upscalers as `GET /upscalers` lists them; clients expect `None` first."""
    unknown = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
    return [{"name": name} | unknown for name in (NONE, *METHODS)]


def enlarge(body: UpscaleRequest, file: bytes) -> UpscaleResponse:
    """Return an image in another size, as PNG; an unknown upscaler means Lanczos. Raises BadRequest."""
    upload = decode(file, "image")
    image = upload.image
    if upload.alpha is not None:
        image.putalpha(upload.alpha)
    method = METHODS.get(body.upscaler_1 or NONE, METHODS[LANCZOS])
    if (body.upscaler_1 or NONE) == NONE:
        return UpscaleResponse(image=encode(image), html_info="")
    size, crop = _target_size(body, image)
    if max(size) > MAX_UPLOAD_SIDE or size[0] * size[1] > MAX_UPLOAD_PIXELS:
        raise InvalidValue("upscaling_resize", f"must give at most {MAX_UPLOAD_PIXELS} pixels, not {size[0]}x{size[1]}")
    large = ImageOps.fit(image, size, method) if crop else image.resize(size, method)
    return UpscaleResponse(image=encode(large), html_info=f"<p>{_summary(body, size)}</p>")


def _target_size(body: UpscaleRequest, image: Image.Image) -> tuple[tuple[int, int], bool]:
    """Return the size to make, and whether the image is cropped to it."""
    if not body.resize_mode:
        factor = body.upscaling_resize or 2.0
        return (max(1, round(image.width * factor)), max(1, round(image.height * factor))), False
    width, height = body.upscaling_resize_w or 512, body.upscaling_resize_h or 512
    if body.upscaling_crop:
        return (width, height), True
    factor = max(width / image.width, height / image.height)  # covers the requested size
    return (max(1, round(image.width * factor)), max(1, round(image.height * factor))), False


def _summary(body: UpscaleRequest, size: tuple[int, int]) -> str:
    method = body.upscaler_1 if body.upscaler_1 in METHODS else LANCZOS
    return f"Upscaler: {method}, Size: {size[0]}x{size[1]}"
