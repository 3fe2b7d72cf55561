"""The runner: arrays and nothing else. Which rows share a call was decided before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import GenerationFailed, OutOfMemory, TintypeError
from ..numerics import guide
from .image_start import ImageStart, downscale_mask
from .task import PROMPTS_PER_UNIT, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..models.model import Array, Conditioning, Model
    from .plan import Plan
    from .policy import Unit
    from .task import Row


@dataclass(frozen=True, slots=True)
class Encoding:
    """Conditionings of the next prompt_count, of `chunks` each; after the last text, where the rows start from."""

    seconds: float
    chunks: int
    conditionings: tuple[Conditioning, ...]
    starts: list[ImageStart] | None


@dataclass(frozen=True, slots=True)
class Denoising:
    """A call's end on the engine's clock, previews of its rows where due, and the rows that are not finite."""

    seconds: float
    ended: float
    previews: tuple[Array | None, ...]
    broken: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Pixels [3, h, w] of a row, float32 in 0..1, and when they were done on the engine's clock."""

    seconds: float
    ended: float
    pixels: Array


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ended a unit."""

    error: TintypeError


Outcome: TypeAlias = Encoding | Denoising | Decoding | Failure


def run(unit: Unit[Row], clock: Callable[[], float]) -> Outcome:
    """Run one unit of work. Whatever the model raises becomes a Failure."""
    model = unit.rows[0].task.model
    assert model is not None, "policy chooses tasks whose model is in memory"  # noqa: S101
    try:
        return _RUN[unit.phase](model, unit, clock)
    except Exception as error:  # noqa: BLE001 - it ends its own rows only
        return Failure(as_error(error))


def _run_encode(model: Model, unit: Unit[Row], clock: Callable[[], float]) -> Encoding:
    began, task = clock(), unit.rows[0].task
    chunks = task.chunks
    if task.encodes_left > 1 and not chunks:
        chunks = model.chunks(task.plan.prompts)
    conditionings = encode(model, task.plan, len(task.conditionings), chunks)
    last = len(task.conditionings) + len(conditionings) >= task.prompt_count
    starts = encode_image(model, task.rows) if last else None
    return Encoding(clock() - began, chunks, conditionings, starts)


def _run_denoise(model: Model, unit: Unit[Row], clock: Callable[[], float]) -> Denoising:
    began, rows = clock(), unit.rows
    denoise(model, rows, unit.width)
    ended = clock()
    broken = tuple(row for row in rows if not row.is_finite)
    previews = tuple(preview(model, row) if row.preview_due and row not in broken else None for row in rows)
    return Denoising(ended - began, ended, previews, broken)


def _run_decode(model: Model, unit: Unit[Row], clock: Callable[[], float]) -> Decoding:
    began = clock()
    pixels = decode(model, unit.rows[0])
    ended = clock()
    return Decoding(ended - began, ended, pixels)


_RUN: dict[Phase, Callable[[Model, Unit[Row], Callable[[], float]], Outcome]] = {
    Phase.ENCODE: _run_encode,
    Phase.DENOISE: _run_denoise,
    Phase.DECODE: _run_decode,
}


def encode(model: Model, plan: Plan, done: int = 0, chunks: int = 0) -> tuple[Conditioning, ...]:
    """Encode the prompt_count of the prompts after the first `done`.

    The row's other inputs go with them. A prompt and a negative prompt are encoded at once. A prompt that changes on
    the way has more texts, of which the next two are encoded, so that other tasks have their turns between; all of
    them have `chunks`.
    """
    prompts = plan.prompts[done : done + PROMPTS_PER_UNIT]
    encoded = model.encode(prompts, chunks) if chunks else model.encode(prompts)
    return tuple(replace(made, guidance_scale=plan.guidance_scale) for made in encoded)


def encode_image(model: Model, rows: Sequence[Row]) -> list[ImageStart] | None:
    """Encode the image that the rows of a task start from, once, and the masked image where the model looks at it.

    Noise is drawn in diffusers' order: see `image_start`. None where there is no image, or nothing to do with it.
    """
    plan = rows[0].task.plan
    if plan.source is None or not plan.calls:
        return None
    plain = not plan.inpaints or plan.strength != 1  # else nothing of the image is in the first latents
    latents = _encode_pixels(model, plan.source.pixels, rows) if plain else [None] * len(rows)
    noises = [row.noise.normal(plan.shape) for row in rows]
    if plan.source.repaint is None:
        return [ImageStart(own, noise) for own, noise in zip(latents, noises, strict=True)]
    repaint = downscale_mask(plan.source.repaint, plan.shape)
    if not plan.inpaints:
        for row in rows:
            row.noise.normal(plan.shape)  # for the masked image's posterior
        return [ImageStart(own, noise, ~repaint) for own, noise in zip(latents, noises, strict=True)]
    hidden = _encode_pixels(model, np.where(plan.source.repaint, np.float32(0.5), plan.source.pixels), rows)
    extra_channels = [np.concatenate([repaint[np.newaxis].astype(np.float32), own]) for own in hidden]
    return [
        ImageStart(own, noise, extra_channels=more)
        for own, noise, more in zip(latents, noises, extra_channels, strict=True)
    ]


def _encode_pixels(model: Model, pixels: Array, rows: Sequence[Row]) -> Array:
    """Return latents [n, c, h, w] of pixels [3, H, W], each with its row's noise."""
    noise = np.stack([row.noise.normal(rows[0].task.plan.shape) for row in rows])
    latents = model.encode_pixels(pixels[np.newaxis], noise)
    if latents.shape != noise.shape:
        raise GenerationFailed(f"the image encoder answered {list(latents.shape)}, not {list(noise.shape)}")
    return latents


def denoise(model: Model, rows: Sequence[Row], width: int) -> None:
    """Move every row one call on: calls of the model for `width` rows of its own, guidance and update for each.

    Rows stand first for their prompts, in order, then those with guidance again for their negative prompts. Either all
    rows advance or none does.
    """
    guided = [i for i, row in enumerate(rows) if len(row.conditionings) > 1]
    both = [*rows, *(rows[i] for i in guided)]
    out = _call(model, both, [row.conditionings[place >= len(rows)] for place, row in enumerate(both)], width)
    if guided:
        scales = [rows[i].task.plan.guidance_scale for i in guided]
        rescales = [rows[i].task.plan.guidance_rescale for i in guided]
        out[guided] = guide(out[len(rows) :], out[guided], scales, rescales)
    for row, own in zip(rows, out, strict=False):
        row.advance(own)


def decode(model: Model, row: Row) -> Array:
    """Return the finished pixels [3, h, w] of `row`, float32 in 0..1.

    A row without a call is the image that it started from, untouched.

    Raises:
        GenerationFailed: not finite, or black all over, which is how half precision shows that it overflowed.
    """
    plan = row.task.plan
    if plan.source is not None and not plan.calls:
        return plan.source.pixels
    pixels: Array = model.decode(row.trajectory.x[np.newaxis])[0]
    if not pixels.any():
        raise GenerationFailed("the image is black all over: the model's decoder failed")
    if not np.isfinite(pixels).all():
        raise GenerationFailed("the image has values that are not finite")
    return pixels


def preview(model: Model, row: Row) -> Array:
    """Show where `row` is going: pixels [3, h, w] at latent resolution, float32 in 0..1."""
    return model.preview(row.trajectory.denoised)


def _call(model: Model, rows: Sequence[Row], conditionings: Sequence[Conditioning], width: int) -> Array:
    """Return the model's output [n, c, h, w] for rows [n]: calls of at most `width`, of one shape of conditioning."""
    inputs = [row.model_input() for row in rows]
    latents = np.stack([latents for latents, _ in inputs])
    timesteps = np.array([timestep for _, timestep in inputs], np.float32)
    groups = _groups(conditionings, width)
    if len(groups) == 1:  # mostly, and then nothing has to be copied
        return _denoise(model, latents, timesteps, conditionings)
    out = np.empty((len(rows), *rows[0].task.plan.shape), np.float32)
    for places in groups:
        out[places] = _denoise(model, latents[places], timesteps[places], [conditionings[i] for i in places])
    return out


def _groups(conditionings: Sequence[Conditioning], width: int) -> list[list[int]]:
    """Group places by the shape of their conditioning: a negative prompt's may differ from its prompt's."""
    groups: dict[object, list[int]] = {}
    for place, conditioning in enumerate(conditionings):
        groups.setdefault(conditioning.key, []).append(place)
    return [group[i : i + width] for group in groups.values() for i in range(0, len(group), width)]


def _denoise(model: Model, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
    out = model.denoise(latents, timesteps, conditionings)
    if out.shape[::2] != latents.shape[::2] or out.shape[3] != latents.shape[3]:
        raise GenerationFailed(f"the denoiser answered {list(out.shape)} to latents {list(latents.shape)}")
    return out


def as_error(error: Exception) -> TintypeError:
    """Return the error of the tree that `error` is to the request whose work it ended."""
    if isinstance(error, TintypeError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("there is not enough memory for this request: try a smaller size or fewer images")
    return GenerationFailed(f"the model's call failed: {type(error).__name__}: {error}")
