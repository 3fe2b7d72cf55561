"""Features of landscapes: a thumbnail, and where each named colour is densest, in the light of each time of day.

A red balloon is dark red at night. The features therefore look for every colour as each time's lamp shows it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ..scenes.canvas import SIDE
from ..scenes.palette import COLORS, LIGHTS

Features = NDArray[np.float32]
Pixels = NDArray[np.uint8]
# Sides of the reduced image, of its cells in pixels of the reduced image, and of the thumbnail.
REDUCED, CELL, THUMBNAIL = 64, 4, 16
CELLS = REDUCED // CELL
# The largest distance of a pixel from its colour, of 255 in each channel.
REACH = 46.0
# Overlapping bands of rows of windows, from the sky to the foreground.
BANDS = ((0, 5), (4, 8), (7, 11), (10, 15))
# Bits of each channel in the table of colours.
BITS = 5


def reduce_images(images: Pixels) -> Pixels:
    """Reduce images, uint8 [n, 256, 256, 3], to [n, 64, 64, 3]."""
    step = SIDE // REDUCED
    parts = images.reshape(len(images), REDUCED, step, REDUCED, step, 3)
    return np.stack([part.mean((1, 3), dtype=np.float32) for part in parts]).round().astype(np.uint8)


def measure_features(reduced: Pixels) -> Features:
    """Return the features of reduced images, float [n, k]."""
    levels = reduced.astype(np.int32) >> (8 - BITS)
    codes = (levels[..., 0] << 2 * BITS) | (levels[..., 1] << BITS) | levels[..., 2]
    parts = [_measure_densities(table[codes]) for table in _make_color_tables()]
    step = REDUCED // THUMBNAIL
    small = reduced.reshape(len(reduced), THUMBNAIL, step, THUMBNAIL, step, 3).mean((2, 4), dtype=np.float32)
    return np.concatenate([*parts, small.reshape(len(reduced), -1) / 127.5 - 1], 1).astype(np.float32)


def _measure_densities(colors: NDArray[np.uint8]) -> Features:
    """Return for each colour its density: the highest of a cell and of a window of 2 by 2 cells, and the mean."""
    count = len(colors)
    found = colors[:, None] == np.arange(len(COLORS), dtype=np.uint8)[:, None, None]
    cells = found.reshape(count, len(COLORS), CELLS, CELL, CELLS, CELL).sum((3, 5), dtype=np.uint8)
    windows = cells[:, :, :-1, :-1] + cells[:, :, 1:, :-1] + cells[:, :, :-1, 1:] + cells[:, :, 1:, 1:]
    quarter, area = CELLS // 4, CELL * CELL
    shares = [windows[:, :, top:end].max((2, 3)) / (4 * area) for top, end in BANDS]
    shares += [cells[:, :, low : low + quarter].max((2, 3)) / area for low in range(0, CELLS, quarter)]
    shares.append(cells.mean((2, 3)) / area)
    return np.sqrt(np.concatenate(shares, 1)).astype(np.float32)


@cache
def _make_color_tables() -> list[NDArray[np.uint8]]:
    """Return for each time of day a table from colour codes to the place of the nearest name in `COLORS`.

    A code that is near to none has the place after the last.
    """
    line = (np.arange(1 << BITS) + 0.5) * (1 << (8 - BITS))
    codes = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 1, 3)
    tables = []
    for lights in LIGHTS.values():
        lamps = [light.shade_bright((255, 255, 255)) for light in lights]
        distances = np.linalg.norm(codes - np.array(list(COLORS.values())) * np.mean(lamps, axis=0) / 255, axis=2)
        nearest = distances.argmin(1)
        nearest[distances.min(1) > REACH] = len(COLORS)
        tables.append(nearest.astype(np.uint8))
    return tables
