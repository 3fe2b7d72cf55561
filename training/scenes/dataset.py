"""The rendered training set on disk.

- `images.npy`: the first images, uint8 [kept, 256, 256, 3]; earlier versions called it `pictures.npy`.
- `latents.npy`: latents of all images, [n, c, 16, 16].
- `captions.json`: captions of all images, [n][8] strings.
- `ids.npy`: their token ids, int16 [n, 8, 32], which the training of the denoiser writes.

Latents are computed while the images are drawn, so a large set needs no space for images.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .canvas import SIDE
from .captions import make_captions
from .render import render
from .spec import make_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ImageArray = NDArray[np.uint8]
CHUNK = 64
IMAGES, FORMER_IMAGES = "images.npy", "pictures.npy"
LATENTS = "latents.npy"
CAPTIONS = "captions.json"
IDS = "ids.npy"


def render_pixels(seed: int) -> ImageArray:
    """Render image `seed`: uint8 [256, 256, 3]."""
    return np.asarray(render(make_spec(seed)))


def render_chunks(first: int, count: int, workers: int | None = None) -> Iterator[tuple[ImageArray, list[list[str]]]]:
    """Yield images `first` to `first + count` and their captions, in order and in chunks, rendered on all cores."""
    bounds = [(low, min(low + CHUNK, first + count)) for low in range(first, first + count, CHUNK)]
    # Spawned, not forked: a parent that has imported torch has threads, and forking those can hang.
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count()) as pool:
        yield from pool.imap(_render_chunk, bounds)


def _render_chunk(bounds: tuple[int, int]) -> tuple[ImageArray, list[list[str]]]:
    seeds = range(*bounds)
    return np.stack([render_pixels(seed) for seed in seeds]), [make_captions(make_spec(seed)) for seed in seeds]


def write_dataset(folder: Path, kept: int, count: int, encode: Callable[[ImageArray], NDArray[Any]]) -> None:
    """Render `count` images; write the captions and the `encode`d latents of all, and the first `kept` images."""
    folder.mkdir(parents=True, exist_ok=True)
    latents: list[NDArray[Any]] = []
    captions: list[list[str]] = []
    store = np.lib.format.open_memmap(folder / IMAGES, "w+", np.uint8, (kept, SIDE, SIDE, 3))
    for images, texts in render_chunks(0, count):
        room = max(0, min(len(images), kept - len(captions)))
        store[len(captions) : len(captions) + room] = images[:room]
        latents.append(encode(images))
        captions += texts
    store.flush()
    np.save(folder / LATENTS, np.concatenate(latents))
    (folder / CAPTIONS).write_text(json.dumps(captions))


def open_images(folder: Path) -> ImageArray:
    """Open the stored images, uint8 [kept, 256, 256, 3], as a memory map."""
    path = folder / IMAGES
    images: ImageArray = np.load(path if path.exists() else folder / FORMER_IMAGES, mmap_mode="r")
    return images


def read_captions(folder: Path) -> list[list[str]]:
    """Read the captions, [n][8]."""
    captions: list[list[str]] = json.loads((folder / CAPTIONS).read_text())
    return captions
