"""Rows that start from an image: strength, masks, and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.engine.exact import DIFFUSION, Bench, ExactModel, spec
from tintype.service.engine.events import Completed, Failed, Finished, Preview, Progress
from tintype.service.engine.image_start import downscale_mask, kept_share
from tintype.service.errors import Cancelled, GenerationFailed
from tintype.service.images.upload import Source
from tintype.service.job import Previews
from tintype.service.models import Prompt
from tintype.service.models.spec import INPAINTING, MaskLayout
from tintype.service.numerics import TorchNoise, Trajectory, make_table

SAMPLERS = ("ddim", "plms", "lcm", "euler", "euler_ancestral", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde", "unipc")


def image(*, masked: bool = False, side: int = 64) -> Source:
    """Return noise of 64 x 64 pixels; `masked` repaints its left half."""
    levels = np.random.default_rng(0).integers(0, 256, (3, side // 8, side // 8), np.uint8).repeat(8, 1).repeat(8, 2)
    repaint = np.zeros((side, side), bool)
    repaint[:, : side // 2] = True
    return Source(levels, repaint if masked else None)


JOBS: list[dict[str, Any]] = [
    {"prompt": "a lake", "seed": 1},
    {"prompt": "a hill", "seed": 2, "source": image(), "strength": 0.5},
    {"prompt": "a wood", "seed": 3, "source": image(masked=True), "count": 2, "sampler": "euler_ancestral"},
    {"prompt": "a moor", "seed": 4, "source": image(masked=True), "strength": 1.0, "guidance_scale": 1.0},
    {"prompt": "a fen", "seed": 5, "source": image(), "strength": 0.0},
]


def run(job: dict[str, Any], **limits: float) -> list[np.ndarray]:
    """Return the images of a job that has an engine to itself."""
    bench = Bench(**limits)
    ticket = bench.admit(**job)
    bench.run()
    return [event.pixels for event in sorted(bench.of(ticket, Finished), key=lambda event: event.index)]


def encoded(seed: int) -> tuple[np.ndarray, TorchNoise]:
    """Return the clean latents of the image for a seed, and the noise stream after them."""
    stream = TorchNoise(seed)
    return ExactModel().encode_pixels(image().pixels[np.newaxis], stream.normal((1, 4, 8, 8)))[0], stream


@pytest.mark.parametrize("draws", [True, False])
def test_the_image_equals_that_of_a_plain_sampling_loop(draws: bool) -> None:  # noqa: FBT001
    """Bit-identical to the last 4 of 6 steps made without an engine.

    The encoder's noise is drawn first; an encoder without a distribution draws none.
    """
    stream = TorchNoise(11)
    noise = stream.normal((1, 4, 8, 8)) if draws else np.zeros((1, 4, 8, 8), np.float32)
    latents = ExactModel().encode_pixels(image().pixels[np.newaxis], noise)[0]
    table = make_table(DIFFUSION, 6, sampler="ddim", start=2)
    alpha, sigma = np.float32(table.alphas[0]), np.float32(table.sigmas[0])
    row = Trajectory(table, alpha * latents + sigma * stream.normal(latents.shape), stream)
    model = ExactModel()
    (conditioning,) = model.encode([Prompt("a lake")])
    while not row.done:
        x, t = row.model_input()
        row.advance(model.denoise(x[np.newaxis], np.array([t], np.float32), [conditioning])[0])
    bench = Bench(ExactModel(spec=spec(draws_posterior=draws)))
    ticket = bench.admit("a lake", seed=11, source=image(), strength=0.7, guidance_scale=1.0)
    bench.run()
    (ours,) = bench.of(ticket, Finished)
    assert np.array_equal(ours.pixels, model.decode(row.x[np.newaxis])[0])


@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_2m", "unipc"])
def test_more_strength_changes_more(sampler: str) -> None:
    """The distance from the source grows with strength."""
    job = {"prompt": "a lake", "seed": 5, "steps": 10, "sampler": sampler, "source": image()}
    pixels = image().pixels
    away = [np.abs(run({**job, "strength": strength})[0] - pixels).mean() for strength in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    assert away[0] == 0
    assert away == sorted(away)
    assert away[-1] > 1.5 * away[1] > 0


def test_at_strength_0_the_image_is_unchanged() -> None:
    """Even an all-black image: it is neither encoded nor decoded, and no denoiser call is counted."""
    black = Source(np.zeros((3, 64, 64), np.uint8))
    bench = Bench()
    ticket = bench.admit(source=black, strength=0.0, steps=9)
    bench.run()
    assert not bench.of(ticket, Finished)[0].pixels.any()
    assert [name for name, _ in bench.model.calls] == ["encode"]
    assert bench.of(ticket, Completed)[0].steps == 0


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_at_strength_0_a_prompt_may_have_changes(scale: float) -> None:
    """No step reaches the change, with guidance or without."""
    bench = Bench()
    ticket = bench.admit("a [lake:city:0.5]", source=image(), strength=0.0, guidance_scale=scale, prompt_weighting=True)
    bench.run()
    (done,) = bench.of(ticket, Completed)
    assert done.prompt_tokens == bench.model.encode([Prompt("a city")])[0].tokens


@pytest.mark.parametrize("strength", [0.5, 1.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_kept_part_is_unchanged(sampler: str, strength: float) -> None:
    """The right half is bit-identical to the encoder's latents, the left half is not."""
    job = {"prompt": "a lake", "seed": 3, "sampler": sampler, "strength": strength, "source": image(masked=True)}
    (ours,) = run(job)
    clean = ExactModel().decode(encoded(3)[0][np.newaxis])[0]
    assert np.array_equal(ours[:, :, 32:], clean[:, :, 32:])
    assert np.abs(ours[:, :, :32] - clean[:, :, :32]).mean() > 0.01


class Painter(ExactModel):
    """An inpainting model, which records its mask and the latents of the masked image."""

    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, conditionings: Any) -> np.ndarray:
        self.extra_channels = latents[:, 4:]
        self.first = getattr(self, "first", latents[0, :4].copy())
        return super().denoise(latents[:, :4], timesteps, conditionings)


@pytest.mark.parametrize(("strength", "encodings"), [(1.0, 1), (0.5, 2)])
def test_an_inpainting_model_gets_mask_and_masked_image(strength: float, encodings: int) -> None:
    """1 where it repaints, and latents of an image that is grey there; noise is drawn in the order of diffusers."""
    model = Painter(spec=spec(inpaints=True, capabilities=frozenset({INPAINTING})))
    bench = Bench(model)
    bench.admit(source=image(masked=True), seed=3, steps=4, strength=strength)
    bench.run()
    assert [name for name, _ in model.calls].count("encode_pixels") == encodings
    stream, shape = TorchNoise(3), (1, 4, 8, 8)
    for _ in range(encodings):  # for the first level and, before it, the posterior of the image
        stream.normal(shape)
    grey = image().pixels[np.newaxis].copy()
    grey[..., :32] = 0.5
    hidden = ExactModel().encode_pixels(grey, stream.normal(shape))[0]
    left = np.arange(8)[np.newaxis, np.newaxis] < np.array([[[4]]])
    for extra in model.extra_channels:  # of both guidance rows
        assert np.array_equal(extra, np.concatenate([np.broadcast_to(left, (1, 8, 8)), hidden]))


def test_a_model_may_take_every_pixel_of_the_mask_last() -> None:
    """FLUX.1 Fill: latents of the masked image first; noise is drawn for the image that is not encoded."""
    layout = MaskLayout(cells=8, last=True, draws_source=True)
    model = Painter(spec=spec(inpaints=True, mask_layout=layout, capabilities=frozenset({INPAINTING})))
    bench = Bench(model)
    ticket = bench.admit(source=image(masked=True), seed=3, steps=4, strength=1.0)
    bench.run()
    assert [name for name, _ in model.calls].count("encode_pixels") == 1
    stream, shape = TorchNoise(3), (1, 4, 8, 8)
    stream.normal(shape)  # for the posterior of the image
    start = stream.normal(shape)[0]
    grey = image().pixels[np.newaxis].copy()
    grey[..., :32] = 0.5
    hidden = ExactModel().encode_pixels(grey, stream.normal(shape))[0]
    extra = model.extra_channels[0]
    assert extra.shape == (4 + 64, 8, 8)
    assert np.array_equal(extra[:4], hidden)
    assert (extra[4:] == (np.arange(8) < 4)).all()
    assert np.array_equal(model.first, np.float32(ticket.plan.table.init) * start)


def test_the_kept_part_has_the_noise_level_of_the_rest() -> None:
    """At each call the kept part has the same noise at the level of that call."""
    bench = Bench()
    seen: list[np.ndarray] = []
    answer = bench.model.denoise

    def denoise(latents: Any, *rest: Any) -> Any:
        seen.append(latents[0].copy())
        return answer(latents, *rest)

    bench.model.denoise = denoise  # type: ignore[assignment, method-assign]
    bench.admit(source=image(masked=True), seed=3, steps=6, strength=0.5, guidance_scale=1.0)
    bench.run()
    latents, stream = encoded(3)
    noise, table = stream.normal((4, 8, 8)), make_table(DIFFUSION, 6, sampler="ddim", start=3)
    for x, alpha, sigma in zip(seen, table.alphas, table.sigmas, strict=False):
        np.testing.assert_allclose(x[:, :, 4:], (alpha * latents + sigma * noise)[:, :, 4:], atol=1e-6)


@pytest.mark.parametrize("max_batch", [1, 2, 8])
def test_batching_changes_nothing(max_batch: int) -> None:
    """Rows from noise, from images and with masks share calls; each image is bit-identical to that made alone."""
    bench = Bench(max_batch=max_batch)
    tickets = [bench.admit(**job) for job in JOBS]
    bench.run()
    for ticket, job in zip(tickets, JOBS, strict=True):
        found = sorted(bench.of(ticket, Finished), key=lambda event: event.index)
        for event, alone in zip(found, run(job), strict=True):
            assert np.array_equal(event.pixels, alone)
    if max_batch == 8:
        assert max(rows for name, rows in bench.model.calls if name == "denoise") > 4


def test_image_k_is_that_of_its_seed() -> None:
    """The second image of seed 3 is the first of seed 4, though one call encoded the upload for both."""
    job: dict[str, Any] = {"prompt": "a wood", "source": image(masked=True), "sampler": "euler_ancestral"}
    bench = Bench()
    ticket = bench.admit(**job, seed=3, count=2)
    bench.run()
    assert [call for call in bench.model.calls if call[0] == "encode_pixels"] == [("encode_pixels", 2)]
    second = next(event.pixels for event in bench.of(ticket, Finished) if event.index == 1)
    assert np.array_equal(second, run({**job, "seed": 4})[0])


def test_encoding_is_timed() -> None:
    """The image encoder counts as encoding, and progress counts the steps that run."""
    bench = Bench()
    ticket = bench.admit(source=image(), strength=0.5, steps=6, previews=Previews(every=1))
    bench.run()
    assert bench.of(ticket, Finished)[0].timings.encode == pytest.approx(0.5 + 0.25)
    assert [(event.step, event.steps) for event in bench.of(ticket, Progress)] == [(1, 3), (2, 3), (3, 3)]
    assert len(bench.of(ticket, Preview)) == 2


def test_a_task_can_be_cancelled_while_its_image_is_encoded() -> None:
    """The encoder's output is dropped, and the next job continues."""
    bench = Bench()
    leaving, staying = bench.admit(source=image(), seed=1), bench.admit(source=image(), seed=2)
    task = bench.task(leaving)
    bench.model.on_call = lambda name, _: bench.engine.cancel(leaving) if name == "encode_pixels" else None
    bench.run()
    assert isinstance(bench.error(leaving), Cancelled)
    assert (task.rows[0].image_start, task.rows[0]._trajectory) == (None, None)
    assert np.array_equal(bench.of(staying, Finished)[0].pixels, run({"source": image(), "seed": 2})[0])
    assert bench.shelf.holds == []


@pytest.mark.parametrize("answer", [np.zeros((1, 4, 9, 8), np.float32), GenerationFailed("no latents")])
def test_an_encoder_that_fails_fails_its_task_only(answer: Any) -> None:
    """The task ends with an error; others complete."""

    def encode(*_: object) -> np.ndarray:
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench = Bench()
    bench.model.encode_pixels = encode  # type: ignore[assignment, method-assign]
    failing, other = bench.admit(source=image()), bench.admit()
    bench.run()
    assert isinstance(bench.of(failing, Failed)[0].error, GenerationFailed)
    assert bench.of(other, Completed)


def test_the_upper_left_pixel_of_a_mask_decides() -> None:
    """Each latent of a mask has the value of the upper left one of its 64 pixels, as in diffusers."""
    mask = np.zeros((16, 24), bool)
    mask[8, 16] = mask[7, 7] = True
    assert downscale_mask(mask, (4, 2, 3)).tolist() == [[[False] * 3, [False, False, True]]]


def test_a_mask_may_have_a_channel_for_each_cell_of_a_latent() -> None:
    """Row by row: with 8 cells of 8 pixels each pixel is one, with 2 the upper left of each quarter."""
    mask = np.zeros((16, 24), bool)
    mask[8, 16] = mask[7, 6] = mask[4, 12] = True
    each = downscale_mask(mask, (4, 2, 3), 8)
    assert each.shape == (64, 2, 3)
    assert np.argwhere(each).tolist() == [[0, 1, 2], [4 * 8 + 4, 0, 1], [7 * 8 + 6, 0, 0]]
    assert np.argwhere(downscale_mask(mask, (4, 2, 3), 2)).tolist() == [[0, 1, 2], [3, 0, 1]]


def test_a_smooth_mask_keeps_a_share_of_each_latent() -> None:
    """The four pixels in the middle of a latent decide; without, the upper left one."""
    mask = np.zeros((16, 32), bool)
    mask[:, 8:] = mask[0, 0] = True
    mask[8:, 16:] = False
    assert kept_share(mask, (4, 1, 2), smooth=True).tolist() == [[0.5, 0.5]]
    assert kept_share(mask, (4, 1, 2), smooth=False).tolist() == [[0, 0]]
    assert kept_share(mask, (4, 2, 4), smooth=True).tolist() == [[1, 0, 0, 0], [1, 0, 1, 1]]
