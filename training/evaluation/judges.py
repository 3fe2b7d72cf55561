"""Judges of images: colours, shape, brightness and warmth.

A judge does not know the prompt. Judges can be wrong in both directions, so tests ask them about rendered images, whose
content is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..scenes.canvas import SIDE, Canvas
from ..scenes.palette import COLORS
from ..scenes.shapes import draw_shape
from ..scenes.spec import SHAPES

if TYPE_CHECKING:
    from ..scenes.dataset import ImageArray

Mask = NDArray[np.bool_]
# The width of the border that shows the background, in pixels.
BORDER = 12
# Below this overlap the foreground counts as none of the shapes.
LEAST_OVERLAP = 0.75
# Below this share of the image the foreground counts as empty.
LEAST_AREA = 0.02
REFERENCE_RADIUS = 60.0


@dataclass(frozen=True)
class Verdict:
    """The content of an image of one shape; `shape` is "" if none fits; `overlap` is its intersection over union.

    `radius` is that of the shape, in pixels, as `draw_shape` takes it; 0 without a shape.
    """

    color: str
    shape: str
    background: str
    overlap: float
    radius: float = 0.0


def judge(image: ImageArray) -> Verdict:
    """Judge colour, shape and background of an image, uint8 [256, 256, 3]."""
    pixels = image.astype(np.float64)
    ground = np.median(_select_border(pixels), axis=0)
    mask, color = find_foreground(pixels, ground)
    shape, overlap = find_shape(mask)
    radius = REFERENCE_RADIUS * float(np.sqrt(mask.sum() / _render_reference(shape).sum())) if shape else 0.0
    return Verdict(name_color(color), shape, name_color(ground), overlap, radius)


def judge_halves(image: ImageArray) -> tuple[Verdict, Verdict]:
    """Judge the left and the right half, each centred on its own background."""
    left, right = image[:, : SIDE // 2], image[:, SIDE // 2 :]
    return judge(_centre_half(left)), judge(_centre_half(right))


def judge_stacked(image: ImageArray) -> tuple[Verdict, Verdict]:
    """Judge the upper and the lower half, each centred on its own background."""
    upper, lower = (_centre_half(half.swapaxes(0, 1)) for half in (image[: SIDE // 2], image[SIDE // 2 :]))
    return judge(upper.swapaxes(0, 1)), judge(lower.swapaxes(0, 1))


def _centre_half(half: ImageArray) -> ImageArray:
    edges = np.concatenate([half[:BORDER].reshape(-1, 3), half[-BORDER:].reshape(-1, 3)])
    framed = np.empty((SIDE, SIDE, 3), np.uint8)
    framed[:] = np.median(edges, axis=0)
    framed[:, SIDE // 4 : -SIDE // 4] = half
    return framed


def name_color(color: NDArray[np.float64]) -> str:
    """Return the nearest of the twelve named colours."""
    distances = {name: float(((color - np.array(value)) ** 2).sum()) for name, value in COLORS.items()}
    return min(distances, key=lambda name: distances[name])


def _select_border(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    interior = np.zeros(pixels.shape[:2], bool)
    interior[BORDER:-BORDER, BORDER:-BORDER] = True
    return pixels[~interior]


def find_foreground(pixels: NDArray[np.float64], ground: NDArray[np.float64]) -> tuple[Mask, NDArray[np.float64]]:
    """Return the mask and the colour of the foreground: pixels nearer to its colour than to the background."""
    distance = np.linalg.norm(pixels - ground, axis=2)
    color = np.median(pixels[distance >= np.percentile(distance, 98) / 2], axis=0)
    return np.linalg.norm(pixels - color, axis=2) < distance, color


def find_shape(mask: Mask) -> tuple[str, float]:
    """Return the shape that overlaps the mask best, at the same centre and area, and the overlap."""
    if mask.mean() < LEAST_AREA:
        return "", 0.0
    overlaps = {shape: _measure_overlap(mask, _render_reference(shape)) for shape in SHAPES}
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return (best if overlaps[best] >= LEAST_OVERLAP else ""), overlaps[best]


@cache
def _render_reference(shape: str) -> Mask:
    canvas = Canvas((0, 0, 0))
    draw_shape(canvas, shape, SIDE / 2, SIDE / 2, REFERENCE_RADIUS, (255, 255, 255))
    return np.asarray(canvas.to_image())[..., 0] > 127


def _measure_overlap(mask: Mask, reference: Mask) -> float:
    """Return intersection over union after moving and scaling `reference` to the centre and area of the mask."""
    scale = float(np.sqrt(mask.sum() / reference.sum()))
    (to_rows, rows), (to_columns, columns) = (
        _map_line(here, there, scale) for here, there in zip(_find_centre(mask), _find_centre(reference), strict=True)
    )
    moved = np.zeros_like(mask)
    moved[np.ix_(to_rows, to_columns)] = reference[np.ix_(rows, columns)]
    return float((mask & moved).sum() / (mask | moved).sum())


def _map_line(here: float, there: float, scale: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows (or columns) of the mask that have one in the reference, and that one."""
    source = np.rint((np.arange(SIDE) - here) / scale + there).astype(np.intp)
    inside = np.flatnonzero((source >= 0) & (source < SIDE))
    return inside, source[inside]


def _find_centre(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def brightness(image: ImageArray) -> float:
    """Return the mean luma, 0 to 255 (Rec. 601)."""
    return float((image.reshape(-1, 3) @ np.array([0.299, 0.587, 0.114])).mean())


def warmth(image: ImageArray) -> float:
    """Return mean red minus mean blue of the upper half, which shows the sky."""
    sky = image[: SIDE // 2].reshape(-1, 3).mean(0)
    return float(sky[0] - sky[2])
