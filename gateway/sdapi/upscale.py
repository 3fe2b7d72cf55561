"""Enlarge images (`POST /extra-single-image`, `POST /extra-batch-images`).

The upscaler `tintype` is the service's own: it doubles the sides once or twice, and the result is resampled to the size
asked for. The others only resample.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from tintype.v1 import image_header
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_UPLOAD_PIXELS, MAX_UPLOAD_SIDE, UPSCALE_FACTORS

from ..errors import InvalidValue
from .init_image import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..access.caller import CallerClient
    from .request_types import Enlargement

    Size = tuple[int, int]

NONE, TINTYPE, LANCZOS, NEAREST = "None", "tintype", "Lanczos", "Nearest"
METHODS = {
    TINTYPE: Image.Resampling.LANCZOS,
    LANCZOS: Image.Resampling.LANCZOS,
    NEAREST: Image.Resampling.NEAREST,
}


def list_upscalers() -> list[dict[str, Any]]:
    """Return the upscalers as `GET /upscalers` lists them; clients expect `None` first."""
    unknown = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
    return [{"name": name} | unknown for name in (NONE, *METHODS)]


async def enlarge(client: CallerClient, body: Enlargement, file: bytes, request_id: str) -> bytes:
    """Return an image in another size, as PNG; an unknown upscaler means Lanczos. Raises BadRequest, ServiceError."""
    size = image_header.check(file).size
    if body.upscaler_1 == TINTYPE:
        factor = _factor(size, target_size(body, size)[0])
        if factor > 1:
            message = pb.UpscaleImageRequest(image=file, factor=factor)
            file = (await client.upscale(message, request_id)).data
    return await asyncio.to_thread(_resample, body, size, file)


def summary(body: Enlargement, images: Iterable[bytes]) -> str:
    """Return the description of enlarged images in HTML; empty if their size was kept."""
    if (body.upscaler_1 or NONE) == NONE:
        return ""
    name = body.upscaler_1 if body.upscaler_1 in METHODS else LANCZOS
    sizes = (image_header.check(image).size for image in images)
    return "".join(f"<p>Upscaler: {name}, Size: {width}x{height}</p>" for width, height in sizes)


def target_size(body: Enlargement, size: Size) -> tuple[Size, bool]:
    """Return the size to make of an image, and whether it is cropped to it. Raises InvalidValue."""
    width, height = body.upscaling_resize_w or 512, body.upscaling_resize_h or 512
    is_cropped = bool(body.resize_mode and body.upscaling_crop)
    if not is_cropped:
        covering = max(width / size[0], height / size[1])
        factor = covering if body.resize_mode else body.upscaling_resize or 2.0
        width, height = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
    if max(width, height) > MAX_UPLOAD_SIDE or width * height > MAX_UPLOAD_PIXELS:
        raise InvalidValue("upscaling_resize", f"must give at most {MAX_UPLOAD_PIXELS} pixels, not {width}x{height}")
    return (width, height), is_cropped


def _factor(size: Size, wanted: Size) -> int:
    """Return the upscaler's smallest factor that covers the wanted size, or the largest that is served; 1 for none."""
    width, height = size
    served = [
        factor
        for factor in UPSCALE_FACTORS
        if width * height * factor**2 <= MAX_UPLOAD_PIXELS and max(size) * factor <= MAX_UPLOAD_SIDE
    ]
    ratio = max(wanted[0] / width, wanted[1] / height)
    if ratio <= 1 or not served:
        return 1
    return next((factor for factor in served if factor >= ratio), served[-1])


def _resample(body: Enlargement, size: Size, file: bytes) -> bytes:
    """Return a file in the size to make of an image of `size`. Raises BadRequest."""
    upload = decode(file, "image")
    image = upload.image
    if upload.alpha is not None:
        image.putalpha(upload.alpha)
    name = body.upscaler_1 or NONE
    if name == NONE:
        return encode(image)
    wanted, is_cropped = target_size(body, size)
    method = METHODS.get(name, Image.Resampling.LANCZOS)
    if wanted == image.size:
        return encode(image)
    return encode(ImageOps.fit(image, wanted, method) if is_cropped else image.resize(wanted, method))
