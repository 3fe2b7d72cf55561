"""Images as Qwen2.5-VL reads them: patches in windows for its vision graph, places of tokens for its language graph.

An image is cut into patches of 14 x 14 pixels; the vision graph merges 2 x 2 of them into one token of the language
graph. Most of its layers attend within windows of 4 x 4 tokens. What depends on sizes is computed here, so that graphs
hold for all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ..files import ModelFileError
from .chat_templates import IMAGE_PAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model import Array, Reference
    from ..runtime.session import Session

    Integers = npt.NDArray[np.int64]

PATCH = 14  # pixels
MERGED = 2  # patches of a token, along a side
WINDOW = 4  # tokens of a window, along a side
FRAMES = 2  # an image is a video of two equal frames
SIDE = PATCH * MERGED  # pixels of a token
WINDOW_PATCHES = (WINDOW * MERGED) ** 2
# Of CLIP's training images, in 0..1.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
IMAGES, POSITIONS = "image_embeds", "position_ids"  # inputs of language graphs
KEPT = 4  # images; more than a request has are read again

Grid = tuple[int, int]
"""Rows and columns of the tokens of an image."""


class VisionInputs(NamedTuple):
    """The inputs of the vision graph for one image of p patches, in the order of windows.

    - `pixel_values`: [p, 1176], normalised.
    - `position_ids`: row and column of each patch [p, 2].
    - `window_patches`: the patches of each window [windows, 64], -1 where it has fewer.
    - `patch_slots`: where each patch is in `window_patches`, flattened [p].
    """

    pixel_values: Array
    position_ids: Integers
    window_patches: Integers
    patch_slots: Integers


def grid_of(levels: npt.NDArray[np.uint8]) -> Grid:
    """Return the grid of an image [3, h, w], whose sides must be multiples of 28."""
    height, width = levels.shape[1:]
    return height // SIDE, width // SIDE


def vision_inputs(levels: npt.NDArray[np.uint8]) -> VisionInputs:
    """Return the inputs of the vision graph for levels [3, h, w], 0..255; sides are multiples of 28."""
    grid = grid_of(levels)
    order, window = _window_order(grid)
    patches = _patches(levels).reshape(len(order), MERGED**2, -1)[order]
    members = np.repeat(window, MERGED**2)
    _, first, number = np.unique(members, return_index=True, return_inverse=True)
    slots = number * WINDOW_PATCHES + np.arange(len(members)) - first[number]
    table = np.full(len(first) * WINDOW_PATCHES, -1)
    table[slots] = np.arange(len(members))
    pixel_values = patches.reshape(len(members), -1)
    return VisionInputs(pixel_values, _patch_places(grid, order), table.reshape(-1, WINDOW_PATCHES), slots)


def grids_of(images: Sequence[Reference]) -> list[Grid]:
    """Return the grids of images, as the text encoder reads them."""
    return [grid_of(image.seen) for image in images if image.seen is not None]


class ImageReader:
    """Gives a language graph the embeddings of images and the places of its tokens.

    Args:
        language: The session of the language graph.
        vision: That of the vision graph; None if the model reads no images. Then no token reads an embedding.
        controls: Ids of the tokenizer's control tokens.

    Raises:
        ModelFileError: the vision graph has other inputs, or the tokenizer has no token for images.
    """

    def __init__(self, language: Session, vision: Session | None, controls: Mapping[str, int]) -> None:
        if IMAGE_PAD not in controls:
            raise ModelFileError(f"{language.label} reads images, but the tokenizer has no control token {IMAGE_PAD!r}")
        if vision:
            vision.require(inputs=VisionInputs._fields, output=IMAGES)
        self._vision, self._token = vision, controls[IMAGE_PAD]
        self._nothing = np.zeros((1, language.widths.get(IMAGES, 1)), np.float32)
        self._read: OrderedDict[bytes, Array] = OrderedDict()

    def inputs(self, ids: Sequence[int], images: Sequence[Reference]) -> dict[str, npt.NDArray[np.generic]]:
        """Return the inputs of the language graph for the ids of a prompt with these images."""
        places = token_places(ids, self._token, grids_of(images))
        return {IMAGES: self._embeds(images), POSITIONS: places[np.newaxis]}

    def _embeds(self, images: Sequence[Reference]) -> Array:
        """Return the embeddings [tokens, dim] of images; those of recent ones are kept for the negative prompt."""
        if self._vision is None or not images:
            return self._nothing
        for image in images:
            if image.digest not in self._read and image.seen is not None:
                self._read[image.digest] = read_image(self._vision, image.seen)
        embeds = np.concatenate([self._read[image.digest] for image in images])
        while len(self._read) > KEPT:
            self._read.popitem(last=False)
        return embeds


def read_image(session: Session, levels: npt.NDArray[np.uint8]) -> Array:
    """Return the embeddings [tokens, dim] of an image [3, h, w], row by row."""
    embeds = session.run(IMAGES, **vision_inputs(levels)._asdict())
    order, _ = _window_order(grid_of(levels))
    if len(embeds) != len(order):
        raise ModelFileError(f"{session.label} gives {len(embeds)} embeddings for an image of {len(order)} tokens")
    rows = np.empty_like(embeds)
    rows[order] = embeds
    return rows


def token_places(ids: Sequence[int], image_token: int, grids: Sequence[Grid]) -> Integers:
    """Return the places [3, tokens] of the ids of a prompt: text counts on; images have frame, row and column.

    Text after an image continues after its longer side.
    """
    parts: list[Integers] = []
    numbers, at, place = np.asarray(ids), 0, 0
    for rows, columns in grids:
        start = at + int(np.argmax(numbers[at:] == image_token))
        parts.append(np.tile(np.arange(place, place + start - at), (3, 1)))
        place += start - at
        inner = np.stack([np.zeros(rows * columns, np.int64), *np.mgrid[:rows, :columns].reshape(2, -1)])
        parts.append(inner + place)
        place, at = place + max(rows, columns), start + rows * columns
    parts.append(np.tile(np.arange(place, place + len(numbers) - at), (3, 1)))
    return np.concatenate(parts, axis=1)


def _patches(levels: npt.NDArray[np.uint8]) -> Array:
    """Return the normalised patches [p, 3 * 2 * 14 * 14] of an image, those of one token after the other."""
    pixels = (levels.transpose(1, 2, 0).astype(np.float32) / np.float32(255) - MEAN) / DEVIATION
    rows, columns = grid_of(levels)
    blocks = pixels.reshape(rows, MERGED, PATCH, columns, MERGED, PATCH, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    frames = np.broadcast_to(blocks[..., None, :, :], (*blocks.shape[:5], FRAMES, PATCH, PATCH))
    return np.ascontiguousarray(frames.reshape(rows * columns * MERGED**2, -1), np.float32)


def _window_order(grid: Grid) -> tuple[Integers, Integers]:
    """Return the tokens of a grid in the order of windows, and the window of each."""
    rows, columns = np.mgrid[: grid[0], : grid[1]].reshape(2, -1) // WINDOW
    window = rows * (-(-grid[1] // WINDOW)) + columns
    order = np.argsort(window, kind="stable")
    return order, window[order]


def _patch_places(grid: Grid, order: Integers) -> Integers:
    """Return row and column [p, 2] of the patches of the tokens `order`."""
    tokens = np.stack(np.unravel_index(order, grid), axis=-1)
    inner = np.mgrid[:MERGED, :MERGED].reshape(2, -1).T
    return np.asarray((tokens[:, None] * MERGED + inner).reshape(-1, 2), np.int64)
