"""The ways in which vendors' clients say how large a picture shall be, as width and height in pixels."""

from __future__ import annotations

from math import gcd, isqrt, sqrt
from typing import Annotated

from msgspec import Meta

from ..errors import InvalidValue

SIZE = "^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$"
RATIO = "^[1-9][0-9]{0,3}:[1-9][0-9]{0,3}$"

Size = Annotated[
    str,
    Meta(
        pattern=SIZE,
        description="'auto' or WIDTHxHEIGHT in pixels, such as '1024x1024'",
        examples=["1024x1024"],
    ),
]
Ratio = Annotated[str, Meta(pattern=RATIO, description="WIDTH:HEIGHT, such as '16:9'", examples=["16:9"])]

AREA = 1024 * 1024  # pixels of a picture of which only the shape is known
MULTIPLE = 16  # pixels; all common models make such sides
MAX_RATIO = 16  # with that area the longer side has 4096 pixels, which is the contract's limit


def of_size(size: str | None) -> tuple[int, int] | None:
    """Return the sides of `512x768`, or None where the model shall choose."""
    if size is None or size == "auto":
        return None
    width, _, height = size.partition("x")
    return int(width), int(height)


def of_ratio(ratio: str | None, param: str) -> tuple[int, int] | None:
    """Return sides of the shape `16:9` and about 1024 x 1024 pixels, or None where there is no ratio.

    Sides are multiples of 16, and have the shape exactly where that costs no more than a quarter of the pixels:
    1280 x 720. Raises InvalidValue.
    """
    if ratio is None:
        return None
    width, height = (int(part) for part in ratio.split(":"))
    if max(width, height) > MAX_RATIO * min(width, height):
        raise InvalidValue(param, f"must be between 1:{MAX_RATIO} and {MAX_RATIO}:1, not '{ratio}'")
    width, height = width // gcd(width, height), height // gcd(width, height)
    unit = isqrt(AREA // (width * height)) // MULTIPLE * MULTIPLE
    if width * height * unit**2 >= 0.75 * AREA:
        return width * unit, height * unit
    return _rounded(sqrt(AREA * width / height)), _rounded(sqrt(AREA * height / width))


def has_ratio(sides: tuple[int | None, int | None], ratio: str, param: str) -> bool:
    """Tell whether sides have the shape `16:9`, as far as that can be had. Raises InvalidValue."""
    across, down = (int(part) for part in ratio.split(":"))
    width, height = sides
    exact = width is not None and height is not None and width * down == height * across
    return sides == of_ratio(ratio, param) or exact


def _rounded(side: float) -> int:
    return round(side / MULTIPLE) * MULTIPLE
