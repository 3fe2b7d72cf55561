"""Width and height in pixels from a size such as `512x768` or an aspect ratio such as `16:9`."""

from __future__ import annotations

from math import gcd, isqrt, sqrt

from ..errors import InvalidValue

AREA = 1024 * 1024  # pixels of an image if only its aspect ratio is known
MULTIPLE = 16  # pixels; all common models can make sides that are multiples of it
MAX_RATIO = 16  # at that area the longer side has 4096 pixels, which is the contract's limit


def parse_size(size: str | None) -> tuple[int, int] | None:
    """Return width and height of `512x768`; None if the model chooses the size."""
    if size is None or size == "auto":
        return None
    width, _, height = size.partition("x")
    return int(width), int(height)


def size_of_ratio(ratio: str | None, param: str) -> tuple[int, int] | None:
    """Return width and height for a ratio such as `16:9`, with about 1024 x 1024 pixels; None without a ratio.

    Both are multiples of 16. They have the exact ratio if that leaves at least three quarters of the pixels, as
    1280 x 720 does. Raises InvalidValue.
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
    return _round_side(sqrt(AREA * width / height)), _round_side(sqrt(AREA * height / width))


def has_ratio(sides: tuple[int | None, int | None], ratio: str, param: str) -> bool:
    """Tell whether sides have a ratio, exactly or as `size_of_ratio` rounds it. Raises InvalidValue."""
    ratio_width, ratio_height = (int(part) for part in ratio.split(":"))
    width, height = sides
    exact = width is not None and height is not None and width * ratio_height == height * ratio_width
    return sides == size_of_ratio(ratio, param) or exact


def _round_side(side: float) -> int:
    return round(side / MULTIPLE) * MULTIPLE
