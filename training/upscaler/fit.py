"""Fit the filters of the upscaler by least squares, in one pass over the training images.

Anchors are the centres of clusters of patches, without regard to their contrast and its sign. Each filter is the best
linear map from the patches that choose it to the four large pixels. A filter with few patches is drawn towards that of
all patches.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tintype.service.images.upscaler import FACTOR, REACH, TAPS, WINDOW, Filters, Floats, Patches

from .samples import open_large_images, shrink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .textures import Pixels

ANCHORS = 256
# Contrasts, in 0..1, between which patches have filters of their own.
LIMITS = (0.006, 0.02, 0.06, 0.15)
ROUNDS = 12
# Patches that the anchors are fitted to.
CLUSTERED = 40_000
# The side of the part of a large image that is used in one pass.
PART = 200
# Patches of all filters that count in each one, and the least variance of a direction.
PRIOR, RIDGE = 60.0, 1e-5
OUTPUTS = FACTOR**2


def fit_filters(folder: Path, passes: int = 1) -> Filters:
    """Fit the filters to parts of the large images in a folder: `passes` of each."""
    rng = random.Random(0)  # noqa: S311 - these random numbers degrade images; they keep nothing secret
    images = open_large_images(folder)
    anchors = _fit_anchors(_sample_details(images, rng))
    sums = NormalEquations(Filters(anchors, np.array(LIMITS, np.float32), np.empty((0, TAPS, OUTPUTS), np.float32)))
    for _ in range(passes):
        for image in images:
            sums.add(*_pair(image, rng))
    return sums.solve()


def _pair(image: Pixels, rng: random.Random) -> tuple[Pixels, Pixels]:
    """Return a random part of an image made small, and the large pixels that have whole patches in it."""
    top, left = (rng.randint(0, side - PART) for side in image.shape[:2])
    large = np.ascontiguousarray(image[top : top + PART, left : left + PART])
    small, edge = np.asarray(shrink(Image.fromarray(large), rng)), FACTOR * REACH
    return small, large[edge:-edge, edge:-edge]


def _sample_details(images: Pixels, rng: random.Random) -> Floats:
    """Return details [n, 49] with contrast, weighted and of length 1, from all images."""
    found = []
    for image in images:
        detail, contrast = Patches.cut(_pair(image, rng)[0]).strongest()
        clear = np.flatnonzero(contrast > LIMITS[1])
        found.append(detail[clear[:: max(1, len(clear) * len(images) // CLUSTERED)]])
    weighted = np.concatenate(found) * np.sqrt(WINDOW)
    return np.asarray(weighted / np.linalg.norm(weighted, axis=1, keepdims=True), np.float32)


def _fit_anchors(details: Floats) -> Floats:
    """Return the anchors [k, 49] by spherical k-means without regard to signs, as `Filters.choose` multiplies them."""
    order = np.random.default_rng(0).permutation(len(details))
    centres = details[order[:ANCHORS]]
    for _ in range(ROUNDS):
        likeness = details @ centres.T
        nearest = np.abs(likeness).argmax(1)
        signs = np.sign(likeness[np.arange(len(details)), nearest])
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, details * signs[:, None])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-9), centres)
    return np.asarray(centres / np.sqrt(WINDOW), np.float32)


class NormalEquations:
    """The sums of the least squares of each filter."""

    def __init__(self, chooser: Filters) -> None:
        self._chooser = chooser
        count = 1 + len(chooser.limits) * len(chooser.anchors)
        self._squares, self._products = np.zeros((count, TAPS, TAPS)), np.zeros((count, TAPS, OUTPUTS))
        self._counts = np.zeros(count)

    def add(self, small: Pixels, large: Pixels) -> None:
        """Add the patches of a small image [h + 6, w + 6, 3] and their large pixels [2h, 2w, 3]."""
        patches = Patches.cut(small)
        height, width = large.shape[0] // FACTOR, large.shape[1] // FACTOR
        blocks = large.reshape(height, FACTOR, width, FACTOR, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, OUTPUTS)
        wanted = blocks.astype(np.float32) / np.float32(255) - patches.means[:, :, None]
        for number, rows in self._groups(patches):
            detail = patches.detail[rows].reshape(-1, TAPS)
            self._squares[number] += detail.T @ detail
            self._products[number] += detail.T @ wanted[rows].reshape(-1, OUTPUTS)
            self._counts[number] += len(detail)

    def _groups(self, patches: Patches) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the filters that patches choose, each with its patches."""
        chosen = self._chooser.choose(patches)
        order = np.argsort(chosen, kind="stable")
        numbers, starts = np.unique(chosen[order], return_index=True)
        yield from zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)

    def solve(self) -> Filters:
        """Return the filters."""
        total = self._counts.sum()
        mean_square, mean_product = self._squares.sum(0) / total, self._products.sum(0) / total
        weights = []
        for square, product in zip(self._squares, self._products, strict=True):
            prior = square + PRIOR * mean_square
            ridge = RIDGE * np.trace(prior) * np.eye(TAPS)
            weights.append(np.linalg.solve(prior + ridge, product + PRIOR * mean_product))
        return Filters(self._chooser.anchors, self._chooser.limits, np.asarray(weights, np.float32))


def save_filters(filters: Filters, path: Path) -> None:
    """Write the filters as float16."""
    arrays = {name: getattr(filters, name).astype(np.float16) for name in ("anchors", "weights")}
    np.savez_compressed(path, limits=filters.limits, **arrays)
