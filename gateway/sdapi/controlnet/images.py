"""Images of units, cut to the shape of the result as the web UI does. The service resizes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tintype.v1.limits import MAX_FILES, MAX_SIDE

from ...errors import InvalidImage
from ..init_image import decode, encode, resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...context import AnyRequest
    from ..init_image import MaskedRegion, Size
    from ..state import WebUi
    from .units import Unit

STRETCH = 0  # resize mode: the service does the same


async def read_units(
    web: WebUi, request: AnyRequest, units: Sequence[Unit], size: Size, region: MaskedRegion | None
) -> dict[str, bytes]:
    """Return the files of units by their place in the contract. Raises InvalidImage."""
    if not units:
        return {}
    named = {f"{unit.place}.image": (f"{unit.key}.image", unit.source) for unit in units}
    files = await web.read_all(request, named)
    for unit in units:
        place = f"{unit.place}.image"
        files[place] = await asyncio.to_thread(fit, files[place], unit, size, region)
    return files


def check_total(files: Sequence[bytes], param: str) -> None:
    """Raise InvalidImage for `param` if all images of a request together are too large."""
    if sum(map(len, files)) > MAX_FILES:
        raise InvalidImage(param, f"must, with all other images, have at most {MAX_FILES} bytes as PNG")


def fit(file: bytes, unit: Unit, size: Size, region: MaskedRegion | None = None) -> bytes:
    """Return the image of a unit in the aspect ratio of `size`, by the unit's resize mode.

    If only a region of an image is made, the unit's image has the shape of the whole, and is cut to the region.
    An image that already fits is returned unchanged. Takes tens of milliseconds. Raises InvalidImage.
    """
    whole = region.whole.size if region else size
    if not region and unit.resize_mode == STRETCH:
        return file
    image = decode(file, f"{unit.key}.image").on_white()
    if not region and image.width * size[1] == image.height * size[0]:
        return file
    if unit.resize_mode != STRETCH:
        image = resize(image, _scaled(whole, image.size, fill=unit.resize_mode != 1), unit.resize_mode)
    if region:
        scale = (image.width / whole[0], image.height / whole[1]) * 2
        box = [round(side * factor) for side, factor in zip(region.box, scale, strict=True)]
        image = image.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
    return encode(image)


def _scaled(shape: Size, image: Size, *, fill: bool) -> Size:
    """Return the sides with the aspect ratio of `shape` within an image, or around it if it is filled."""
    factors = [have / want for have, want in zip(image, shape, strict=True)]
    scale = min(max(factors) if fill else min(factors), MAX_SIDE / max(shape))
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))
