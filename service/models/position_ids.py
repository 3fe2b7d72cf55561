"""Places of the tokens of a denoiser: of the image, the images to edit, and the text. One function for each layout.

Each takes the grids (rows, columns) of the image and of the references, in tokens, and the number of text tokens. It
returns img_ids [tokens of all grids, columns] and txt_ids [text tokens, columns], int64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Ids: TypeAlias = "npt.NDArray[np.int64]"

Grid = tuple[int, int]
PositionIds: TypeAlias = Callable[[Sequence[Grid], int], "tuple[Ids, Ids]"]


def grid_ids(grid: Grid, columns: int = 3, first: int = 0) -> Ids:
    """Return [rows * columns of the grid, columns]: `first`, row and column of each token, then zeros."""
    ids = np.zeros((*grid, columns), np.int64)
    ids[..., 0] = first
    ids[..., 1] = np.arange(grid[0])[:, None]
    ids[..., 2] = np.arange(grid[1])
    return ids.reshape(-1, columns)


def flux_ids(grids: Sequence[Grid], text: int) -> tuple[Ids, Ids]:
    """FLUX.1: number of the image, row and column; zeros for text. Kontext's references are numbered from 1."""
    image = [grid_ids(grid, first=number) for number, grid in enumerate(grids)]
    return np.concatenate(image), np.zeros((text, 3), np.int64)


def ovis_ids(grids: Sequence[Grid], text: int) -> tuple[Ids, Ids]:
    """Ovis-Image: as FLUX.1, but the words are counted on the diagonal."""
    image, _ = flux_ids(grids, text)
    return image, _diagonal(text)


def longcat_ids(grids: Sequence[Grid], text: int) -> tuple[Ids, Ids]:
    """LongCat-Image: images are numbered from 1, and their rows and columns from the length of the text."""
    image = [grid_ids(grid, first=number) + np.array((0, text, text)) for number, grid in enumerate(grids, 1)]
    return np.concatenate(image), _diagonal(text)


def _diagonal(text: int) -> Ids:
    """Return [text, 3]: 0, then the number of the word twice."""
    return np.asarray(np.arange(text)[:, None] * np.array((0, 1, 1)), np.int64)


def flux2_ids(grids: Sequence[Grid], text: int) -> tuple[Ids, Ids]:
    """FLUX.2: ten times the number of the image, row, column, and the number of the word, which is 0 for images."""
    image = [grid_ids(grid, columns=4, first=10 * number) for number, grid in enumerate(grids)]
    words = np.zeros((text, 4), np.int64)
    words[:, 3] = np.arange(text)
    return np.concatenate(image), words


def qwen_ids(grids: Sequence[Grid], text: int) -> tuple[Ids, Ids]:
    """Qwen-Image: number of the image, then row and column, counted from the middle of each image.

    The text follows on the diagonal, after the longest half of a side.
    """
    image = [grid_ids(grid, first=number) for number, grid in enumerate(grids)]
    for ids, (rows, columns) in zip(image, grids, strict=True):
        ids[:, 1:] -= rows - rows // 2, columns - columns // 2
    start = max(max(rows // 2, columns // 2) for rows, columns in grids)
    return np.concatenate(image), np.repeat(start + np.arange(text)[:, None], 3, axis=1)
