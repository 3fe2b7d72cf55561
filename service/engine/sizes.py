"""Which size the model makes for the size that was asked; the edge resamples from one to the other.

Rule: keep the shape, and keep away from sizes that the model has never seen.

- A side is never more than 4 times the other: beyond that the image is made at 4:1 and cropped.
- An area of 1/2 to 9/4 of a native one (sides of 0.7 to 1.5 times) is made as asked.
- Any other area is made at the native area nearest to it: a small image of a large model would be mush, a large one
  of a small model would repeat itself and cost without bound.
- Sides are multiples of what the model needs: of the four ways to round, the one that keeps the shape best wins, then
  the one that keeps the area best.
"""

from __future__ import annotations

from itertools import product
from math import ceil, floor, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models.spec import ModelSpec, Size

MAX_ASPECT = 4.0
AREAS = (0.5, 2.25)  # of a native area


def native_size(width: int, height: int, spec: ModelSpec) -> Size:
    """Return the width and height in pixels that `spec` makes for an image of `width` by `height`."""
    aspect = min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)
    area = _area(width * height, [w * h for w, h in spec.native_sizes])
    return _rounded(sqrt(area * aspect), sqrt(area / aspect), spec.size_multiple)


def _area(asked: float, native: Sequence[int]) -> float:
    low, high = AREAS
    if any(low * own <= asked <= high * own for own in native):
        return asked
    return min(native, key=lambda own: abs(log(own / asked)))


def _rounded(width: float, height: float, multiple: int) -> Size:
    return min(product(_both(width, multiple), _both(height, multiple)), key=lambda size: _misfit(size, width, height))


def _both(side: float, multiple: int) -> set[int]:
    return {max(floor(side / multiple), 1) * multiple, max(ceil(side / multiple), 1) * multiple}


def _misfit(size: Size, width: float, height: float) -> tuple[float, float]:
    """Return how far shape and area are off, as logarithms of ratios; rounded, so that equal shapes count as equal."""
    x, y = log(size[0] / width), log(size[1] / height)
    return round(abs(x - y), 9), abs(x + y)
