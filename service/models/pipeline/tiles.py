"""Large pictures piece by piece: a VAE's graph is called on overlapping tiles, and what overlaps is blended.

A graph needs memory for the whole of what it sees: at 2048 x 2048 pixels a published decoder takes some 20 GB, in
tiles of 512 x 512 one sixteenth of that. All tiles have one shape. Their weights rise evenly over the overlap, so that
no edge shows. What a tile can't see of its surroundings (normalisation over the whole picture, attention) makes the
result a little different from the whole's.
"""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model import Array


def blended(run: Callable[[Array], Array], whole: Array, *, tile: int, overlap: int, unit: int = 1) -> Array:
    """Call `run` ([n, c, h, w] -> [n, d, h s, w s], any s) on tiles of `whole`, and put the answers together.

    Tiles are `tile` wide and high, or as the whole where that is less, and overlap by `overlap` at least. They begin
    at multiples of `unit`, of which the whole's sides, `tile` and `overlap` are multiples.
    """
    height, width = whole.shape[2:]
    tall, wide = min(tile, height), min(tile, width)
    places = product(_starts(height, tall, overlap, unit), _starts(width, wide, overlap, unit))
    total, weights = np.zeros(0, np.float32), np.zeros(0, np.float32)
    for top, left in places:
        answer = run(np.ascontiguousarray(whole[:, :, top : top + tall, left : left + wide]))
        high, broad = answer.shape[2:]
        if not total.size:
            total = np.zeros((*answer.shape[:2], height * high // tall, width * broad // wide), np.float32)
            weights = np.zeros(total.shape[2:], np.float32)
        y, x = top * high // tall, left * broad // wide
        ramp = _ramp(high, overlap * high // tall)[:, None] * _ramp(broad, overlap * broad // wide)
        total[:, :, y : y + high, x : x + broad] += answer * ramp
        weights[y : y + high, x : x + broad] += ramp
    return total / weights


def _starts(side: int, tile: int, overlap: int, unit: int) -> list[int]:
    """Return where tiles begin, evenly spread, the first at 0 and the last so that it ends with the side."""
    count = max(ceil((side - overlap) / (tile - overlap)), 1) if side > tile else 1
    return [round(i * (side - tile) / unit / max(count - 1, 1)) * unit for i in range(count)]


def _ramp(side: int, overlap: int) -> Array:
    """Return weights [side] that rise over the overlap and fall again; where no other tile reaches they cancel out."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return np.asarray(np.minimum(distance / max(overlap, 1), 1), np.float32)
