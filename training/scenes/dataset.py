"""Rendered pictures on disk: `pictures.npy`, uint8 [n, 256, 256, 3], and `captions.json`, [n][8] strings.

Latents are computed from the pictures as they are drawn, so that a large set needs no picture kept.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .canvas import SIDE
from .captions import captions
from .render import render
from .spec import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Pictures = NDArray[np.uint8]
CHUNK = 64


def pixels_of(seed: int) -> Pictures:
    """Picture `seed`, uint8 [256, 256, 3]."""
    return np.asarray(render(spec(seed)))


def _chunk(bounds: tuple[int, int]) -> tuple[Pictures, list[list[str]]]:
    seeds = range(*bounds)
    return np.stack([pixels_of(seed) for seed in seeds]), [captions(spec(seed)) for seed in seeds]


def rendered(first: int, count: int, workers: int | None = None) -> Iterator[tuple[Pictures, list[list[str]]]]:
    """Pictures `first` to `first + count` with their captions, in order and in chunks, drawn on all cores."""
    bounds = [(low, min(low + CHUNK, first + count)) for low in range(first, first + count, CHUNK)]
    # Spawned, not forked: a parent that has imported torch has threads, and forking those can hang.
    with multiprocessing.get_context("spawn").Pool(workers or os.cpu_count()) as pool:
        yield from pool.imap(_chunk, bounds)


def write_set(folder: Path, kept: int, count: int, encode: Callable[[Pictures], NDArray[Any]]) -> None:
    """Render `count` pictures: captions and `encode`d latents of all, the first `kept` as pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    latents: list[NDArray[Any]] = []
    said: list[list[str]] = []
    store = np.lib.format.open_memmap(folder / "pictures.npy", "w+", np.uint8, (kept, SIDE, SIDE, 3))
    for pictures, lines in rendered(0, count):
        room = max(0, min(len(pictures), kept - len(said)))
        store[len(said) : len(said) + room] = pictures[:room]
        latents.append(encode(pictures))
        said += lines
    store.flush()
    np.save(folder / "latents.npy", np.concatenate(latents))
    (folder / "captions.json").write_text(json.dumps(said))
