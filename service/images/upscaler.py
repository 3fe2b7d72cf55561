"""The upscaler: it doubles the side of an image by linear filters, one of some hundred for each pixel.

The patch around a pixel chooses the filter: the strength of its contrast, and which of a set of typical patches it
resembles most (anchored regression: Timofte, De Smet and Van Gool, "A+", 2014). So a filter knows, for example, that it
is on a sharp edge of a certain angle. The filters were fitted by least squares (`tintype.training.upscaler`).

Large images are enlarged in tiles. A pixel depends on its patch alone, so tiles have no seams, and memory is bounded by
one tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

    from .pixels import Levels

Floats: TypeAlias = npt.NDArray[np.float32]
FILE = Path(__file__).parent / "upscaler.npz"
SIDE = 7  # pixels, of a patch
TAPS = SIDE * SIDE
REACH = SIDE // 2
FACTOR = 2
TILE = 128  # pixels, side of a tile


def _window(deviation: float = 1.6) -> Floats:
    """Return the weights [49] of a patch's pixels in its mean and its contrast: a Gaussian that adds up to 1."""
    line = np.exp(-((np.arange(SIDE) - REACH) ** 2) / (2 * deviation**2))
    weights = np.outer(line, line).ravel()
    return np.asarray(weights / weights.sum(), np.float32)


WINDOW = _window()


@dataclass(frozen=True)
class Patches:
    """The patches of n pixels: their means [n, 3], and what differs from them, `detail` [n, 3, 49]; levels in 0..1."""

    means: Floats
    detail: Floats

    @classmethod
    def cut(cls, levels: Levels) -> Patches:
        """Cut the patches of an image, uint8 [h + 6, w + 6, 3], whose border has no patches of its own."""
        floats = levels.astype(np.float32) / np.float32(255)
        windows = np.lib.stride_tricks.sliding_window_view(floats, (SIDE, SIDE), (0, 1))
        values = windows.reshape(-1, 3, TAPS)  # a copy, except for a single patch
        means = np.asarray(values @ WINDOW, np.float32)
        return cls(means, np.asarray(values - means[:, :, None], np.float32))

    def strongest(self) -> tuple[Floats, Floats]:
        """Return the detail [n, 49] of the colour with the strongest contrast, and that contrast [n]."""
        energy = np.square(self.detail) @ WINDOW
        color = energy.argmax(1)
        rows = np.arange(len(color))
        return self.detail[rows, color], np.sqrt(energy[rows, color])


@dataclass(frozen=True)
class Filters:
    """The filters: `anchors` [k, 49], `limits` [b] of the contrast, `weights` [1 + b * k, 49, 4].

    Patches below the first limit share filter 0. The four outputs are the pixels of a 2 by 2 block, row by row.
    """

    anchors: Floats
    limits: Floats
    weights: Floats

    @classmethod
    def load(cls, path: Path = FILE) -> Filters:
        """Read the filters."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(*(stored[name].astype(np.float32) for name in ("anchors", "limits", "weights")))

    def choose(self, patches: Patches) -> npt.NDArray[np.intp]:
        """Return the number of each patch's filter [n]."""
        detail, contrast = patches.strongest()
        bucket = np.searchsorted(self.limits, contrast)
        clear = np.flatnonzero(bucket)
        nearest = np.abs((detail[clear] * WINDOW) @ self.anchors.T).argmax(1)
        chosen = np.zeros(len(bucket), np.intp)
        chosen[clear] = 1 + (bucket[clear] - 1) * len(self.anchors) + nearest
        return chosen

    def enlarge(self, levels: Levels) -> Levels:
        """Return a tile [2h, 2w, 3] of an image [h + 6, w + 6, 3]."""
        height, width = levels.shape[0] - 2 * REACH, levels.shape[1] - 2 * REACH
        patches = Patches.cut(levels)
        values = patches.detail @ self.weights[self.choose(patches)] + patches.means[:, :, None]
        blocks = values.reshape(height, width, 3, FACTOR, FACTOR).transpose(0, 3, 1, 4, 2)
        rounded = (blocks.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        return rounded.reshape(FACTOR * height, FACTOR * width, 3)


@cache
def filters() -> Filters:
    """Return the filters, read once."""
    return Filters.load()


def double(levels: Levels, check: Callable[[], None], chosen: Filters | None = None) -> Levels:
    """Return an image [h, w, 3] with twice its sides; `check` is called before each tile, and may raise."""
    chosen = chosen or filters()
    padded = np.pad(levels, ((REACH, REACH), (REACH, REACH), (0, 0)), "edge")
    height, width = levels.shape[:2]
    result = np.empty((FACTOR * height, FACTOR * width, 3), np.uint8)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            check()
            part = padded[top : top + TILE + 2 * REACH, left : left + TILE + 2 * REACH]
            rows, columns = (slice(FACTOR * start, FACTOR * (start + TILE)) for start in (top, left))
            result[rows, columns] = chosen.enlarge(part)
    return result
