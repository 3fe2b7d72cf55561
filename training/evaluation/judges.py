"""Judges of pictures: which colours, which shape, how bright, how warm.

They are told nothing of the prompt, and they can be wrong in both directions: the tests ask them about pictures that
the renderer drew, where the answer is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..scenes.canvas import SIDE, Canvas
from ..scenes.palette import COLORS
from ..scenes.shapes import draw_shape
from ..scenes.spec import SHAPES

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
BORDER = 12
# Below this agreement the foreground is no shape at all, whichever is nearest.
LEAST_OVERLAP = 0.75
LEAST_AREA = 0.02
REFERENCE_RADIUS = 60.0


@dataclass(frozen=True)
class Verdict:
    """What a picture of one shape shows; `shape` is "" where none fits, `overlap` is its IoU."""

    color: str
    shape: str
    background: str
    overlap: float


def judge(picture: Picture) -> Verdict:
    """Colour, shape and background of a picture uint8 [256, 256, 3]."""
    pixels = picture.astype(np.float64)
    ground = np.median(_border(pixels), axis=0)
    mask, color = foreground(pixels, ground)
    shape, overlap = nearest_shape(mask)
    return Verdict(color_name(color), shape, color_name(ground), overlap)


def judge_halves(picture: Picture) -> tuple[Verdict, Verdict]:
    """Verdicts on the left and on the right half, each set in the middle of its own background."""
    left, right = picture[:, : SIDE // 2], picture[:, SIDE // 2 :]
    return judge(_framed(left)), judge(_framed(right))


def _framed(half: Picture) -> Picture:
    edges = np.concatenate([half[:BORDER].reshape(-1, 3), half[-BORDER:].reshape(-1, 3)])
    framed = np.empty((SIDE, SIDE, 3), np.uint8)
    framed[:] = np.median(edges, axis=0)
    framed[:, SIDE // 4 : -SIDE // 4] = half
    return framed


def color_name(color: NDArray[np.float64]) -> str:
    """The nearest of the twelve named colours."""
    distances = {name: float(((color - np.array(value)) ** 2).sum()) for name, value in COLORS.items()}
    return min(distances, key=lambda name: distances[name])


def _border(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.zeros(pixels.shape[:2], bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    return pixels[~inside]


def foreground(pixels: NDArray[np.float64], ground: NDArray[np.float64]) -> tuple[Mask, NDArray[np.float64]]:
    """What stands out of the background, and its colour: pixels nearer to that colour than to the background's."""
    away = np.linalg.norm(pixels - ground, axis=2)
    color = np.median(pixels[away >= np.percentile(away, 98) / 2], axis=0)
    return np.linalg.norm(pixels - color, axis=2) < away, color


def nearest_shape(mask: Mask) -> tuple[str, float]:
    """The shape whose outline, laid on centre and area of the mask, covers it best."""
    if mask.mean() < LEAST_AREA:
        return "", 0.0
    overlaps = {shape: _overlap(mask, _reference(shape)) for shape in SHAPES}
    best = max(overlaps, key=lambda shape: overlaps[shape])
    return (best if overlaps[best] >= LEAST_OVERLAP else ""), overlaps[best]


@cache
def _reference(shape: str) -> Mask:
    canvas = Canvas((0, 0, 0))
    draw_shape(canvas, shape, SIDE / 2, SIDE / 2, REFERENCE_RADIUS, (255, 255, 255))
    return np.asarray(canvas.picture())[..., 0] > 127


def _overlap(mask: Mask, reference: Mask) -> float:
    """Intersection over union after `reference` is moved and scaled to the mask's centre and area."""
    scale = float(np.sqrt(mask.sum() / reference.sum()))
    rows, columns = np.indices(mask.shape)
    (row, column), (from_row, from_column) = _centre(mask), _centre(reference)
    source_rows = np.rint((rows - row) / scale + from_row).astype(int)
    source_columns = np.rint((columns - column) / scale + from_column).astype(int)
    known = (source_rows >= 0) & (source_rows < SIDE) & (source_columns >= 0) & (source_columns < SIDE)
    moved = np.zeros_like(mask)
    moved[known] = reference[source_rows[known], source_columns[known]]
    return float((mask & moved).sum() / (mask | moved).sum())


def _centre(mask: Mask) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(rows.mean()), float(columns.mean())


def brightness(picture: Picture) -> float:
    """Mean luma, 0 to 255 (Rec. 601)."""
    return float((picture.reshape(-1, 3) @ np.array([0.299, 0.587, 0.114])).mean())


def warmth(picture: Picture) -> float:
    """Mean red less mean blue of the upper half, where the sky is."""
    sky = picture[: SIDE // 2].reshape(-1, 3).mean(0)
    return float(sky[0] - sky[2])
