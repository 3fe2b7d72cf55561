"""Pictures that are already there: what their text says, and larger versions of them, without any model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from tintype.v1.image_header import MAX_PIXELS, MAX_SIDE

from ..errors import InvalidValue
from .filetext import KEY, texts
from .infotext import taken_apart
from .initial import encoded, opened
from .types import Enlarged, Extra, PngInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

NONE, LANCZOS, NEAREST = "None", "Lanczos", "Nearest"
METHODS = {LANCZOS: Image.Resampling.LANCZOS, NEAREST: Image.Resampling.NEAREST}


def upscalers() -> list[dict[str, Any]]:
    """Return what `GET /upscalers` lists; clients expect `None` first."""
    rest = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
    return [{"name": name} | rest for name in (NONE, *METHODS)]


def look_up(file: bytes) -> PngInfo:
    """Return what a picture says of itself; an empty text where it says nothing."""
    found: Mapping[str, str] = texts(file)
    text = found.get(KEY, "")
    return PngInfo(
        info=text, items={key: value for key, value in found.items() if key != KEY}, parameters=taken_apart(text)
    )


def enlarge(asked: Extra, file: bytes) -> Enlarged:
    """Return an image in another size, as PNG.

    Upscalers that are not here are Lanczos. Raises BadRequest.
    """
    decoded = opened(file, "image")
    image = decoded.image
    if decoded.alpha is not None:
        image.putalpha(decoded.alpha)
    method = METHODS.get(asked.upscaler_1 or NONE, METHODS[LANCZOS])
    if (asked.upscaler_1 or NONE) == NONE:
        return Enlarged(image=encoded(image), html_info="")
    size, cut = _size(asked, image)
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise InvalidValue("upscaling_resize", f"must give at most {MAX_PIXELS} pixels, not {size[0]}x{size[1]}")
    large = ImageOps.fit(image, size, method) if cut else image.resize(size, method)
    return Enlarged(image=encoded(large), html_info=f"<p>{_told(asked, size)}</p>")


def _size(asked: Extra, image: Image.Image) -> tuple[tuple[int, int], bool]:
    """Return the size to make, and whether the picture is cut to it."""
    if not asked.resize_mode:
        factor = asked.upscaling_resize or 2.0
        return (max(1, round(image.width * factor)), max(1, round(image.height * factor))), False
    width, height = asked.upscaling_resize_w or 512, asked.upscaling_resize_h or 512
    if asked.upscaling_crop:
        return (width, height), True
    factor = max(width / image.width, height / image.height)  # covers the size that was asked for
    return (max(1, round(image.width * factor)), max(1, round(image.height * factor))), False


def _told(asked: Extra, size: tuple[int, int]) -> str:
    method = asked.upscaler_1 if asked.upscaler_1 in METHODS else LANCZOS
    return f"Upscaler: {method}, Size: {size[0]}x{size[1]}"
