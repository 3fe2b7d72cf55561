"""Tiles: what is local comes out as from the whole, and nobody sees where they meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tintype.service.models.pipeline.tiles import blended

if TYPE_CHECKING:
    from tintype.service.models.pipeline.pipeline import DiffusionModel


def local(latents: np.ndarray) -> np.ndarray:
    """A decoder that looks one latent far: the mean of a place and the next ones, twice as large."""
    padded = np.pad(latents, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = latents.shape[2:]
    near = [padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.mean(near, axis=0).repeat(2, axis=2).repeat(2, axis=3).astype(np.float32)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (33, 16), (50, 47), (8, 64)])
def test_what_is_constant_or_smooth_stays_so(size: tuple[int, int]) -> None:
    """Any size, and tiles larger than a side: weights cancel out everywhere, the borders included."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    whole = np.stack([np.ones_like(x), x + y])[np.newaxis]
    made = blended(lambda part: part.repeat(2, axis=2).repeat(2, axis=3), whole, tile=16, overlap=4)
    assert made.shape == (1, 2, 2 * size[0], 2 * size[1])
    assert made.dtype == np.float32
    assert np.allclose(made, whole.repeat(2, axis=2).repeat(2, axis=3), rtol=1e-6)


def test_every_tile_has_one_shape() -> None:
    """Graphs with fixed shapes can be used, and memory is bounded; no tile is left out."""
    shapes = []

    def run(part: np.ndarray) -> np.ndarray:
        shapes.append(part.shape)
        return part

    blended(run, np.zeros((1, 1, 30, 50), np.float32), tile=16, overlap=4)
    assert set(shapes) == {(1, 1, 16, 16)}
    assert len(shapes) == 3 * 4


def test_what_looks_a_little_farther_differs_a_little() -> None:
    """Only where tiles end is the surrounding missing, and there their weight is small."""
    whole = np.random.default_rng(0).random((1, 1, 48, 48), np.float32)
    away = np.abs(blended(local, whole, tile=24, overlap=8) - local(whole))
    assert 0 < away.max() < 0.05


def test_pictures_are_encoded_in_tiles_that_begin_with_a_latent() -> None:
    """Downwards too: tiles begin at multiples of what one latent covers."""
    whole = np.arange(40 * 56, dtype=np.float32).reshape(1, 1, 40, 56)
    made = blended(lambda part: part[:, :, ::8, ::8], whole, tile=24, overlap=8, unit=8)
    assert np.allclose(made, whole[:, :, ::8, ::8], rtol=1e-6)


def test_tiles_of_a_trained_decoder_don_t_show(model: DiffusionModel) -> None:
    """The built-in decoder, which normalises over the picture: 0.5 levels of 255 apart on average, 3 at most of 99 %.

    Where tiles meet there is no edge: from one pixel to the next the difference changes by less than half a level.
    """
    spots = np.random.default_rng(0).random((1, 3, 12, 12)).astype(np.float32)
    pixels = spots.repeat(32, axis=2).repeat(32, axis=3)
    latents = model.encode_pixels(pixels, np.zeros((1, *model.spec.latent_shape(384, 384)), np.float32))
    away = (blended(model.decode, latents, tile=16, overlap=4) - model.decode(latents)) * 255
    assert np.abs(away).mean() < 0.5
    assert np.quantile(np.abs(away), 0.99) < 3
    ends = [128, 256]  # of the first and the last of two tiles
    for axis in (2, 3):
        assert np.abs(np.diff(away, axis=axis).take(np.array(ends) - 1, axis=axis)).mean() < 0.5
