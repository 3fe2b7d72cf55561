"""The size that a model renders for a requested size. The API layer resamples to the requested size.

The aspect ratio is kept, and sizes far from those that the model was trained on are avoided.

- The aspect ratio is at most 4:1. Beyond that the image is rendered at 4:1 and cropped.
- An area of 1/2 to 9/4 of a native area (0.7 to 1.5 times its sides) is rendered as requested.
- A side is at most `max_side`, for models that have positions for no more; the aspect ratio is kept.
- Any other area is rendered at the nearest native area. A small image of a large model would be blurred; a large image
  of a small model would repeat its subject, at unbounded cost.
- Sides are multiples of `size_multiple`. Of the four ways to round, the one closest in aspect ratio wins, then the one
  closest in area.
"""

from __future__ import annotations

from itertools import product
from math import ceil, floor, log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models.spec import ModelSpec, Size

MAX_ASPECT = 4.0
AREA_RANGE = (0.5, 2.25)  # in native areas


def native_size(width: int, height: int, spec: ModelSpec) -> Size:
    """Return the width and height in pixels that `spec` renders for an image of `width` by `height`."""
    aspect = min(max(width / height, 1 / MAX_ASPECT), MAX_ASPECT)
    area = _area(width * height, [w * h for w, h in spec.native_sizes])
    sides = sqrt(area * aspect), sqrt(area / aspect)
    if spec.max_side is not None and max(sides) > spec.max_side:
        sides = spec.max_side * min(aspect, 1.0), spec.max_side / max(aspect, 1.0)
    return _round_to_multiples(*sides, spec.size_multiple)


def _area(requested: float, native: Sequence[int]) -> float:
    low, high = AREA_RANGE
    if any(low * own <= requested <= high * own for own in native):
        return requested
    return min(native, key=lambda own: abs(log(own / requested)))


def _round_to_multiples(width: float, height: float, multiple: int) -> Size:
    sizes = product(_multiples(width, multiple), _multiples(height, multiple))
    return min(sizes, key=lambda size: _error(size, width, height))


def _multiples(side: float, multiple: int) -> set[int]:
    return {max(floor(side / multiple), 1) * multiple, max(ceil(side / multiple), 1) * multiple}


def _error(size: Size, width: float, height: float) -> tuple[float, float]:
    """Return the errors of aspect ratio and area, as logarithms; the first is rounded so that equal ratios tie."""
    x, y = log(size[0] / width), log(size[1] / height)
    return round(abs(x - y), 9), abs(x + y)
