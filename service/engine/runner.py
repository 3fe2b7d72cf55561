"""Runner: the array work of one unit. The policy has already chosen its rows and width."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ..errors import GenerationFailed, InvalidField, OutOfMemory, TintypeError
from ..models.model import ControlInput, call_groups
from ..models.resident.fault import NotResident
from ..models.resident.interface import ResidentCall, resident_latents
from ..models.resident.trajectory import ResidentTrajectory
from ..numerics import guide
from .image_start import encode_image
from .task import PROMPTS_PER_UNIT, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..images.pixels import Levels, Pixels
    from ..job import Control
    from ..models.model import Array, Conditioning, Model
    from ..models.resident.interface import ResidentLatents
    from .image_start import ImageStart
    from .plan import Plan
    from .policy import Unit
    from .task import Row


@dataclass(frozen=True, slots=True)
class Encoding:
    """Conditionings of the next prompts, of `chunks` each.

    After the last prompt come the image starts of all rows, the latents [c, h, w] of images to edit, and the rows'
    inputs of ControlNets.
    """

    seconds: float
    chunks: int
    conditionings: tuple[Conditioning, ...]
    starts: list[ImageStart] | None
    references: tuple[Array, ...] = ()
    controls: Sequence[tuple[ControlInput, ...]] = ()


@dataclass(frozen=True, slots=True)
class Denoising:
    """Result of one denoiser step: previews of the unit's rows where due, and rows whose latents are not finite."""

    seconds: float
    ended: float
    previews: tuple[Array | None, ...]
    broken: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Decoding:
    """Pixels [3, h, w] of a row."""

    seconds: float
    ended: float
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ended a unit of work."""

    error: TintypeError


Outcome: TypeAlias = Encoding | Denoising | Decoding | Failure


def run(unit: Unit[Row], clock: Callable[[], float]) -> Outcome:
    """Run one unit of work. An exception of the model becomes a Failure. `clock` is in seconds."""
    model = unit.rows[0].task.model
    assert model is not None, "policy chooses tasks whose model is in memory"  # noqa: S101
    try:
        return _RUN[unit.phase](model, unit, clock)
    except Exception as error:  # noqa: BLE001 - it fails the rows of this unit only
        return Failure(as_error(error))


def _run_encode(model: Model, unit: Unit[Row], clock: Callable[[], float]) -> Encoding:
    began, task = clock(), unit.rows[0].task
    chunks = task.chunks
    if task.encodes_left > 1 and not chunks:
        chunks = model.chunks(task.plan.prompts)
    conditionings = encode(model, task.plan, len(task.conditionings), chunks)
    last = len(task.conditionings) + len(conditionings) >= task.prompt_count
    references = encode_references(model, task.plan) if last else ()
    controls = encode_hints(model, task.rows) if last else []
    starts = encode_image(model, task.plan, [row.noise for row in task.rows]) if last else None
    return Encoding(clock() - began, chunks, conditionings, starts, references, controls)


def _run_denoise(model: Model, unit: Unit[Row], clock: Callable[[], float]) -> Denoising:
    began, rows = clock(), unit.rows
    denoise(model, rows, unit.width)
    ended = clock()
    broken = tuple([row for row in rows if not row.trajectory.finite])
    previews = tuple([preview(model, row) if row.preview_due() and row not in broken else None for row in rows])
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
    """Encode the next PROMPTS_PER_UNIT prompts after the first `done`; conditionings also hold the guidance scale.

    Prompt and negative prompt are one unit. A prompt that changes over the steps has more texts, all with the same
    number of `chunks`; they are encoded two at a time, so that other tasks run in between.
    """
    prompts = plan.prompts[done : done + PROMPTS_PER_UNIT]
    encoded = model.encode(prompts, chunks) if chunks else model.encode(prompts)
    return tuple(replace(conditioning, guidance_scale=plan.guidance_scale) for conditioning in encoded)


def encode_references(model: Model, plan: Plan) -> tuple[Array, ...]:
    """Return the latents [c, h, w] of each image to edit: the mode of the posterior, so no noise is drawn."""
    if not plan.calls:
        return ()
    shapes = [model.spec.latent_shape(*each.levels.shape[:0:-1]) for each in plan.references]
    return tuple(
        model.encode_pixels(
            each.levels[np.newaxis].astype(np.float32) / np.float32(255), np.zeros((1, *shape), np.float32)
        )[0]
        for each, shape in zip(plan.references, shapes, strict=True)
    )


def encode_hints(model: Model, rows: Sequence[Row]) -> list[tuple[ControlInput, ...]]:
    """Return what the ControlNets read for each row; diffusers draws their noise before that of the latents."""
    plan = rows[0].task.plan
    if not plan.hints or not plan.calls:
        return []
    hints = list(enumerate(zip(plan.controls, plan.hints, strict=True)))
    return [tuple(_hint(model, row, place, *each) for place, each in hints) for row in rows]


def _hint(model: Model, row: Row, place: int, control: Control, levels: Levels) -> ControlInput:
    pixels = levels.astype(np.float32) / np.float32(255)
    try:
        hint = model.encode_hint(control.name, pixels, row.noise.normal)
    except InvalidField as error:
        raise InvalidField(f"controls[{place}].name", error.violations[0].problem) from error
    return ControlInput(control.name, hint, control.weight, control.start, control.end, control.mode)


def denoise(model: Model, rows: Sequence[Row], width: int) -> None:
    """Advance every row by one denoiser call, in model calls of at most `width` rows. Either all advance or none does.

    Latents stay on the model's device if it keeps them there and the call is possible there.
    """
    conditionings = [row.conditionings for row in rows]
    resident = resident_latents(model)
    if resident and resident.takes([each for own in conditionings for each in own]):
        with suppress(NotResident):  # then no row has advanced
            return _denoise_on_device(resident, rows, conditionings, width)
    return _denoise_on_host(model, rows, conditionings, width)


def _denoise_on_device(
    resident: ResidentLatents, rows: Sequence[Row], conditionings: Sequence[tuple[Conditioning, ...]], width: int
) -> None:
    plans, rule = [row.task.plan for row in rows], rows[0].task.plan.guidance_rule  # of the model, which all rows share
    calls = [
        ResidentCall(
            row.on_device(resident),
            own,
            scale=plan.guidance_scale + rule.offset,
            rescale=plan.guidance_rescale if len(own) > 1 else 0.0,
            estimated=row.preview_due(more=1),
        )
        for row, plan, own in zip(rows, plans, conditionings, strict=True)
    ]
    resident.advance(calls, width, rule)
    for row in rows:
        row.advanced()


def _denoise_on_host(
    model: Model, rows: Sequence[Row], conditionings: Sequence[tuple[Conditioning, ...]], width: int
) -> None:
    """Advance every row.

    The rows with their prompts come first, in order, then the guided rows again with their negative prompts.
    """
    guided = [i for i, own in enumerate(conditionings) if len(own) > 1]
    inputs = [row.on_host().model_input() for row in rows]
    inputs += [inputs[i] for i in guided]
    out = _call(model, inputs, [own[0] for own in conditionings] + [conditionings[i][1] for i in guided], width)
    if guided:
        plans = [rows[i].task.plan for i in guided]
        scale, rescale = _joint([p.guidance_scale for p in plans]), _joint([p.guidance_rescale for p in plans])
        rule = plans[0].guidance_rule  # of the model, which all rows share
        if len(guided) == len(rows):
            out = guide(out[len(rows) :], out[: len(rows)], scale, rescale, rule)
        else:
            out[guided] = guide(out[len(rows) :], out[guided], scale, rescale, rule)
    for row, own in zip(rows, out, strict=False):
        row.advance(own)


def _joint(values: list[float]) -> list[float] | float:
    """Return the value that all rows have, if they have one."""
    return values if values.count(values[0]) < len(values) else values[0]


def decode(model: Model, row: Row) -> Pixels:
    """Return the finished pixels [3, h, w] of `row`: float32 in 0..1, or levels if the latents are on a device.

    A row without denoiser calls is its source image, unchanged.

    Raises:
        GenerationFailed: the pixels are not finite, or all black, which indicates an overflow in half precision.
    """
    plan = row.task.plan
    if plan.source is not None and not plan.calls:
        return plan.source.pixels
    levels = _levels(model, row)
    pixels: Pixels = model.decode(row.trajectory.x[np.newaxis])[0] if levels is None else levels
    if not pixels.any():
        raise GenerationFailed("the image is entirely black: the model's decoder failed")
    if not np.isfinite(pixels).all():
        raise GenerationFailed("the decoded image has values that are not finite")
    return pixels


def _levels(model: Model, row: Row) -> Levels | None:
    """Return the levels [3, h, w] of a row whose latents are on the device; None if they are decoded from the host."""
    resident, trajectory = resident_latents(model), row.trajectory
    return resident.decode(trajectory) if resident and isinstance(trajectory, ResidentTrajectory) else None


def preview(model: Model, row: Row) -> Array:
    """Return a preview of `row`: pixels [3, h, w] at latent resolution, float32 in 0..1."""
    return model.preview(row.trajectory.denoised)


def _call(
    model: Model, inputs: Sequence[tuple[Array, float]], conditionings: Sequence[Conditioning], width: int
) -> Array:
    """Return the output [n, c, h, w] for n inputs, in calls of at most `width` with one conditioning shape."""
    latents = np.array([latents for latents, _ in inputs])
    timesteps = np.array([timestep for _, timestep in inputs], np.float32)
    if len(inputs) <= width and len({conditioning.key for conditioning in conditionings}) == 1:
        return _denoise(model, latents, timesteps, conditionings)  # the usual case: nothing is copied
    groups = call_groups(conditionings, width)
    parts = [_denoise(model, latents[own], timesteps[own], [conditionings[i] for i in own]) for own in groups]
    out = np.empty((len(inputs), *parts[0].shape[1:]), np.float32)
    for indices, part in zip(groups, parts, strict=True):
        out[indices] = part
    return out


def _denoise(model: Model, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
    out = model.denoise(latents, timesteps, conditionings)
    if out.shape[::2] != latents.shape[::2] or out.shape[3] != latents.shape[3]:
        raise GenerationFailed(
            f"the denoiser returned shape {list(out.shape)} for latents of shape {list(latents.shape)}"
        )
    return out


def as_error(error: Exception) -> TintypeError:
    """Return the TintypeError to report for an exception of the model."""
    if isinstance(error, TintypeError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("not enough memory for this request: try a smaller size or fewer images")
    return GenerationFailed(f"the model call failed: {type(error).__name__}: {error}")
