"""Width and height in pixels from the ways in which vendors' clients give an image's size."""

from __future__ import annotations

from math import gcd, isqrt, sqrt

from ..errors import InvalidValue

AREA = 1024 * 1024  # pixels of an image if only its aspect ratio is known
MULTIPLE = 16  # pixels; all common models can make such sides
MAX_RATIO = 16  # at that area the longer side has 4096 pixels, which is the contract's limit


def of_size(size: str | None) -> tuple[int, int] | None:
    """Return the sides of `512x768`, or None if the model chooses."""
    if size is None or size == "auto":
        return None
    width, _, height = size.partition("x")
    return int(width), int(height)


def of_ratio(ratio: str | None, param: str) -> tuple[int, int] | None:
    """Return sides in the ratio `16:9` with about 1024 x 1024 pixels, or None without a ratio.

    Sides are multiples of 16. They have the exact ratio if that costs at most a quarter of the pixels: 1280 x 720.
    Raises InvalidValue.
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
    """Tell whether sides have the ratio `16:9`, exactly or as `of_ratio` rounds it. Raises InvalidValue."""
    across, down = (int(part) for part in ratio.split(":"))
    width, height = sides
    exact = width is not None and height is not None and width * down == height * across
    return sides == of_ratio(ratio, param) or exact


def _rounded(side: float) -> int:
    return round(side / MULTIPLE) * MULTIPLE
