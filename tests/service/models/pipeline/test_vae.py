"""Latents to pixels and back, in the denoiser's scale; values that are not finite are errors; tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from tests.support.models.graphs import as_session
from tintype.service.errors import GenerationFailed, OutOfMemory, Unsupported
from tintype.service.models.family import VaeSpec
from tintype.service.models.files import ModelFileError
from tintype.service.models.pipeline.vae import RETRY_AFTER, Vae, run_tiled

if TYPE_CHECKING:
    from collections.abc import Callable

    from tintype.service.models.pipeline.pipeline import DiffusionModel
    from tintype.service.models.runtime.session import Session

Function: TypeAlias = "Callable[[np.ndarray], np.ndarray]"


class Graph:
    """A graph of one input that is a function."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.outputs = ["out"]
        self.label = "vae_encoder/model.onnx"

    def require(self, *, inputs: tuple[str, ...], output: str) -> None:
        assert inputs in (("latent_sample",), ("sample",))
        assert output == "out"

    def run(self, output: str, **feeds: np.ndarray) -> np.ndarray:
        assert output == "out"
        (array,) = feeds.values()
        assert array.dtype == np.float32
        return self.function(array).astype(np.float32)


def make(decode: Function = lambda z: z, encode: Function | None = None, **factors: Any) -> Vae:
    open_encoder = None if encode is None else lambda: as_session(Graph(encode))
    return Vae(as_session(Graph(decode)), open_encoder, VaeSpec(), **factors)


def test_pixels_are_in_0_to_1_and_latents_are_unscaled() -> None:
    """The graph gets latents / scaling + shift; its -1..1 becomes 0..1, clipped at both ends."""
    latents = np.array([-9, -2, 0, 1, 2, 9], np.float32).reshape(1, 1, 2, 3)
    pixels = make(scaling_factor=2, shift_factor=0.5).decode(latents)
    assert pixels.dtype == np.float32
    assert pixels.ravel().tolist() == [0, 0.25, 0.75, 1, 1, 1]


def test_decoding_does_not_change_its_latents() -> None:
    """The decoded row may be previewed afterwards."""
    latents = np.ones((1, 1, 2, 2), np.float32)
    make(scaling_factor=3).decode(latents)
    assert (latents == 1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_errors(bad: float) -> None:
    """Latents or pixels that are not finite do not become a black image; the error names the images of the call."""
    latents = np.zeros((3, 4, 2, 2), np.float32)
    latents[1, 2, 0, 1] = bad
    with pytest.raises(GenerationFailed, match="the latents of image 1 of 3 in this call are not finite"):
        make().decode(latents)
    with pytest.raises(GenerationFailed, match="the pixels of image 0, 1 of 2 in this call are not finite"):
        make(lambda z: z + bad).decode(np.zeros((2, 4, 2, 2), np.float32))


def test_black_images_are_allowed() -> None:
    """A black image of finite values is returned."""
    assert (make().decode(np.full((1, 3, 2, 2), -1, np.float32)) == 0).all()


def test_encoding_draws_from_the_posterior() -> None:
    """Latents are (mean + deviation * noise - shift) * scaling, with the given noise."""

    def posterior(pixels: np.ndarray) -> np.ndarray:
        assert pixels.min() == -1
        assert pixels.max() == 1
        mean = pixels.mean(axis=(1, 2, 3), keepdims=True) + np.full((len(pixels), 4, 2, 2), 3.0)
        return np.concatenate([mean, np.full_like(mean, 2 * np.log(0.5))], axis=1)

    pixels = np.array([0, 1, 0.5, 0.5], np.float32).reshape(1, 1, 2, 2).repeat(3, axis=1)
    vae = make(encode=posterior, scaling_factor=10, shift_factor=1)
    noise = np.random.default_rng(0).standard_normal((1, 4, 2, 2), np.float32)
    assert np.allclose(vae.encode(pixels, noise), (3 + 0.5 * noise - 1) * 10)
    assert np.allclose(vae.encode(pixels, 0 * noise), 20)


def test_one_image_for_several_noises_is_encoded_once() -> None:
    """Each noise draws its own latents from the posterior, or gets those that the graph has drawn."""
    noise = np.random.default_rng(0).standard_normal((3, 4, 2, 2), np.float32)
    pixels = np.ones((1, 3, 16, 16), np.float32)
    assert np.allclose(make(encode=lambda x: np.zeros((len(x), 8, 2, 2))).encode(pixels, noise), noise)
    assert make(encode=lambda x: np.full((len(x), 4, 2, 2), 7.0)).encode(pixels, noise).shape == noise.shape


def test_the_variance_is_bounded() -> None:
    """The logarithm of the variance is clipped to -30..20, as in diffusers."""
    vae = make(encode=lambda _: np.concatenate([np.zeros((1, 1, 2, 2)), np.full((1, 1, 2, 2), 900.0)], axis=1))
    noise = np.ones((1, 1, 2, 2), np.float32)
    assert np.allclose(vae.encode(np.ones((1, 3, 2, 2), np.float32), noise), np.exp(10), rtol=1e-5)


def test_graphs_that_draw_latents() -> None:
    """Latents of older exports, which draw inside the graph, are used unchanged."""
    vae = make(encode=lambda _: np.full((1, 4, 2, 2), 7.0))
    assert (vae.encode(np.ones((1, 3, 2, 2), np.float32), np.ones((1, 4, 2, 2), np.float32)) == 7).all()


@pytest.mark.parametrize("shape", [(1, 16, 2, 2), (1, 3, 2, 2), (1, 8, 1, 2)])
def test_an_encoder_of_another_model_is_rejected(shape: tuple[int, ...]) -> None:
    """Its latents have another number of channels, or another size."""
    vae = make(encode=lambda _: np.zeros(shape))
    with pytest.raises(
        ModelFileError, match=r"vae_encoder/model\.onnx gives \(.*\) for latents of \(4, 2, 2\): it belongs"
    ):
        vae.encode(np.zeros((1, 3, 16, 16), np.float32), np.zeros((1, 4, 2, 2), np.float32))


def test_image_to_image_requires_the_encoder() -> None:
    """A folder without vae_encoder raises Unsupported."""
    with pytest.raises(Unsupported, match="this model has no image encoder"):
        make().encode(np.ones((1, 3, 2, 2), np.float32), np.ones((1, 4, 2, 2), np.float32))


def limited(function: Function, most: int, seen: list[tuple[int, ...]]) -> Function:
    """Return a function of a graph that has memory for `most` numbers."""

    def run(array: np.ndarray) -> np.ndarray:
        seen.append(array.shape[2:])
        if array.size > most:
            raise OutOfMemory("too large")
        return function(array)

    return run


def test_images_that_do_not_fit_are_decoded_in_tiles() -> None:
    """A size that did not fit is not tried again; a size that fits is decoded whole."""
    seen: list[tuple[int, ...]] = []
    vae = make(limited(lambda z: z[:, :3].repeat(8, axis=2).repeat(8, axis=3), 4 * 80 * 80, seen))
    latents = np.random.default_rng(0).standard_normal((1, 4, 100, 100), np.float32)
    expected = (latents[:, :3].repeat(8, axis=2).repeat(8, axis=3) / 2 + 0.5).clip(0, 1)
    for _ in range(2):
        assert np.allclose(vae.decode(latents), expected, atol=1e-6)
    assert seen == [(100, 100), *[(64, 64)] * 8]
    seen.clear()
    vae.decode(latents[:, :, :80, :80])
    assert seen == [(80, 80)]


def test_a_size_that_did_not_fit_is_tried_again_later() -> None:
    """Memory may be free again: after some minutes one whole image is tried."""
    seen: list[tuple[int, ...]] = []
    now, room = [0.0], [4 * 80 * 80]

    def run(z: np.ndarray) -> np.ndarray:
        return limited(lambda z: z[:, :3].repeat(8, axis=2).repeat(8, axis=3), room[0], seen)(z)

    vae, latents = make(run, clock=lambda: now[0]), np.zeros((1, 4, 100, 100), np.float32)
    for _ in range(3):
        vae.decode(latents)
    assert seen.count((100, 100)) == 1
    now[0] = RETRY_AFTER
    for _ in range(3):
        vae.decode(latents)
    assert seen.count((100, 100)) == 2
    now[0], room[0] = 2 * RETRY_AFTER, 10**6
    seen.clear()
    for _ in range(3):
        vae.decode(latents)
    assert seen == [(100, 100)] * 3


def test_images_that_do_not_fit_are_encoded_in_tiles() -> None:
    """Encoding uses tiles like decoding."""
    seen: list[tuple[int, ...]] = []
    small = limited(lambda x: x[:, :1, ::8, ::8], 3 * 640 * 640, seen)
    pixels = np.random.default_rng(0).random((1, 3, 800, 640), np.float32)
    made = make(encode=small).encode(pixels, np.zeros((1, 1, 100, 80), np.float32))
    assert np.allclose(made, pixels[:, :1, ::8, ::8] * 2 - 1, atol=1e-6)
    assert seen == [(800, 640), *[(512, 512)] * 4]


def test_a_tile_that_does_not_fit_is_an_error() -> None:
    """If memory is not sufficient for a tile, the call fails; for a small image at the first try."""
    seen: list[tuple[int, ...]] = []
    vae = make(limited(lambda z: z, 1, seen))
    for side in (64, 65):
        with pytest.raises(OutOfMemory):
            vae.decode(np.zeros((1, 4, side, side), np.float32))
    assert seen == [(64, 64), (65, 65), (64, 64)]


def test_overflows_are_decoded_again_in_float32() -> None:
    """The decoder in float32 is loaded when it is first needed, once."""
    opened: list[Graph] = []

    def open_decoder_fp32() -> Session:
        opened.append(Graph(lambda z: z))
        return as_session(opened[-1])

    half = Graph(lambda z: np.where(np.abs(z) > 5, np.nan, z))
    vae = Vae(as_session(half), None, VaeSpec(), open_decoder_fp32=open_decoder_fp32)
    assert (vae.decode(np.zeros((1, 3, 2, 2), np.float32)) == 0.5).all()
    assert not opened
    for _ in range(2):
        assert (vae.decode(np.full((1, 3, 2, 2), 9, np.float32)) == 1).all()
    assert len(opened) == 1


def local(latents: np.ndarray) -> np.ndarray:
    """Return the mean of each latent and its neighbours, at twice the size: a decoder with a small receptive field."""
    padded = np.pad(latents, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = latents.shape[2:]
    near = [padded[:, :, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.mean(near, axis=0).repeat(2, axis=2).repeat(2, axis=3).astype(np.float32)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (33, 16), (50, 47), (8, 64)])
def test_constant_and_linear_values_are_kept(size: tuple[int, int]) -> None:
    """For any size, and tiles larger than a side, the weights cancel out everywhere, also at the borders."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    whole = np.stack([np.ones_like(x), x + y])[np.newaxis]
    made = run_tiled(lambda part: part.repeat(2, axis=2).repeat(2, axis=3), whole, tile=16, overlap=4)
    assert made.shape == (1, 2, 2 * size[0], 2 * size[1])
    assert made.dtype == np.float32
    assert np.allclose(made, whole.repeat(2, axis=2).repeat(2, axis=3), rtol=1e-6)


def test_tiles_have_one_shape() -> None:
    """So graphs with fixed shapes can be used and memory is bounded; the tiles cover the whole."""
    shapes = []

    def run(part: np.ndarray) -> np.ndarray:
        shapes.append(part.shape)
        return part

    run_tiled(run, np.zeros((1, 1, 30, 50), np.float32), tile=16, overlap=4)
    assert set(shapes) == {(1, 1, 16, 16)}
    assert len(shapes) == 3 * 4


def test_missing_surroundings_change_little() -> None:
    """The surroundings are missing only at the ends of tiles, where their weight is small."""
    whole = np.random.default_rng(0).random((1, 1, 48, 48), np.float32)
    away = np.abs(run_tiled(local, whole, tile=24, overlap=8) - local(whole))
    assert 0 < away.max() < 0.05


def test_tiles_of_images_begin_at_latents() -> None:
    """Tiles of an image begin at multiples of a latent's width."""
    whole = np.arange(40 * 56, dtype=np.float32).reshape(1, 1, 40, 56)
    made = run_tiled(lambda part: part[:, :, ::8, ::8], whole, tile=24, overlap=8, unit=8)
    assert np.allclose(made, whole[:, :, ::8, ::8], rtol=1e-6)


def test_tiles_of_a_trained_decoder_are_not_visible(model: DiffusionModel) -> None:
    """The built-in decoder normalizes over the image: 0.5 levels of 255 on average, at most 3 for 99 % of the values.

    There is no edge between tiles: from one pixel to the next, the difference changes by less than half a level.
    """
    spots = np.random.default_rng(0).random((1, 3, 12, 12)).astype(np.float32)
    pixels = spots.repeat(32, axis=2).repeat(32, axis=3)
    latents = model.encode_pixels(pixels, np.zeros((1, *model.spec.latent_shape(384, 384)), np.float32))
    away = (run_tiled(model.decode, latents, tile=16, overlap=4) - model.decode(latents)) * 255
    assert np.abs(away).mean() < 0.5
    assert np.quantile(np.abs(away), 0.99) < 3
    ends = [128, 256]  # of the first and the last of two tiles
    for axis in (2, 3):
        assert np.abs(np.diff(away, axis=axis).take(np.array(ends) - 1, axis=axis)).mean() < 0.5
