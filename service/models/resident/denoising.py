"""Denoiser calls on latents that stay on the device.

A step is three graphs: one makes the denoiser's latents and timesteps of the state, the denoiser follows, and one
applies guidance and the sampler's update and writes the state. The denoiser's graph is the same as for calls from the
host, and so are its captured calls, which read and write their own buffers. A step sends one row of numbers for each
image, and noise where the sampler adds it, and fetches one number for each image. What depends on the rows of a call,
such as their prompts, is sent when the rows change.

The state changes only once all graphs have succeeded: a failed step can be repeated, in other calls or from the host.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import Cancelled, GenerationFailed, OutOfMemory
from ...numerics import PLAIN, GuidanceRule
from ..model import call_groups
from ..runtime.graph import is_out_of_memory
from .decoding import ResidentDecoder
from .fault import NotResident
from .graphs import Column, InputRecipe, UpdateRecipe, copy_results, write_input, write_update
from .interface import ResidentCall, coefficients_of
from .state import LatentState
from .values import Buffers, Functions, dtype_of, fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ...numerics import Trajectory
    from ..model import Array, Conditioning
    from ..pipeline.denoiser import Denoiser
    from ..pipeline.vae import Vae
    from .decoding import Levels
    from .graphs import LatentShape
    from .trajectory import ResidentTrajectory
    from .values import Device, Values

log = logging.getLogger(__name__)

BATCHES = 4  # whose indices are kept on the device


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of one denoiser call: what it reads beside latents and timesteps, on the host, and what the state gives."""

    rows: int
    constants: Mapping[str, Values] = field(repr=False)
    values: Mapping[str, Any] = field(repr=False)
    channels: int
    references: int


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """What does not change while rows share calls. `kept` are the objects by whose ids it is found."""

    parts: list[_Part]
    values: Mapping[str, Any] = field(repr=False)
    guided: bool
    kept: object = field(repr=False)


class ResidentDenoiser:
    """A model's denoiser and decoder for rows whose latents are on a device. Only the device thread calls it.

    `vae` is None if it computes elsewhere; `check` is called after each image.
    """

    def __init__(
        self, denoiser: Denoiser, device: Device, vae: Vae | None = None, check: Callable[[], None] = lambda: None
    ) -> None:
        self._denoiser, self._device, self._check_files = denoiser, device, check
        self._functions, self._buffers = Functions(device), Buffers(device)
        self._inputs = Buffers(device)  # of the denoiser, whose captured calls belong to their addresses
        self._decode = ResidentDecoder(vae, self._functions, self._buffers) if vae else None
        self._works = True
        self._states: dict[LatentShape, LatentState] = {}
        self._batches: OrderedDict[object, _Batch] = OrderedDict()

    def takes(self, conditionings: Sequence[Conditioning]) -> bool:
        """Return whether a call is possible: ControlNets read the latents on the host."""
        return self._works and not any(conditioning.controls for conditioning in conditionings)

    def holds(self, row: ResidentTrajectory) -> bool:
        """Return whether a row has joined here, and not a model that was unloaded since."""
        return self._states.get(row.state.shape) is row.state

    def join(self, row: Trajectory) -> ResidentTrajectory:
        """Move a row to the device.

        Raises:
            OutOfMemory: the device has no memory for it.
        """
        channel, height, width = row.x.shape
        shape = channel, height, width
        with self._errors():
            if shape not in self._states:
                self._states = {key: state for key, state in self._states.items() if state.is_used}
                self._states[shape] = LatentState(self._functions, shape)
            return self._states[shape].join(row, self._denoiser.scaled_timesteps(row.table.timesteps))

    def advance(self, calls: Sequence[ResidentCall], width: int, rule: GuidanceRule = PLAIN) -> None:
        """Advance rows of one latent shape by one step, in denoiser calls of at most `width` rows.

        Raises:
            GenerationFailed, OutOfMemory, Cancelled: a call failed; no row has advanced.
        """
        state = self._states[calls[0].row.state.shape]
        assert all(call.row.state is state for call in calls), "rows have joined this model"  # noqa: S101
        with self._errors():
            batch = self._batch(calls, width)
            terms = max(call.row.table.history for call in calls)
            coefficients = self._buffers.sent("coefficients", coefficients_of(calls, terms))
            outs = [self._denoise(state, part, coefficients, place, batch) for place, part in enumerate(batch.parts)]
            size, estimates = self._update(state, calls, batch, {"coefficients": coefficients}, outs, rule)
            finite, fetched = np.isfinite(fetch(size)), iter(fetch(estimates) if estimates else ())
        state.latents.swap()
        for call, is_finite in zip(calls, finite, strict=True):
            call.row.advanced(finite=bool(is_finite), estimate=next(fetched) if call.estimated else None)

    def decode(self, row: ResidentTrajectory) -> Levels | None:
        """Return the levels [3, h, w] of a finished row; None if it must be decoded from the host.

        Raises:
            ModelBroken: a file of weights was overwritten, so that the image would be wrong.
            GenerationFailed, Cancelled: the call failed.
        """
        if not self._decode or not self._works or not self.holds(row):
            return None
        with suppress(NotResident), self._errors():
            levels = self._decode(self._states[row.state.shape], row)
            self._check_files()
            return levels
        return None

    def _denoise(self, state: LatentState, part: _Part, coefficients: Any, place: int, batch: _Batch) -> Any:
        """Return the result of one call, which the next one does not overwrite."""
        layout = self._denoiser.layout
        recipe = InputRecipe(
            state.shape,
            state.latents.axes[0],
            coefficients.shape()[1],
            layout.dtype,
            layout.time,
            part.channels,
            layout.patch,
            part.references,
        )
        axes, length = recipe.axes, (1 if layout.time.single else part.rows,)
        latents = self._inputs("latents", (part.rows, *axes), layout.dtype)
        timesteps = self._inputs("timesteps", length if layout.time.rank else (), layout.time.dtype)
        inputs = {"state": state.latents.current, "coefficients": coefficients, **part.values}
        self._functions(write_input, recipe)(inputs, {"latents": latents, "timesteps": timesteps})
        out = self._denoiser.on_device(part.constants, latents, timesteps)
        self._check(out.shape(), (part.rows, *axes), state.shape)
        return out if part is batch.parts[-1] else self._copied(out, place)

    def _copied(self, out: Any, place: int) -> Any:
        """Return a copy of a result: the next call of its shape overwrites it."""
        dtype = dtype_of(out)
        copy = self._buffers(("out", place), tuple(out.shape()), dtype)
        self._functions(copy_results, (dtype, tuple(out.shape()[1:])))({"out": out}, {"copy": copy})
        return copy

    def _check(self, out: Sequence[int], latents: Sequence[int], shape: LatentShape) -> None:
        right = latents[:2] if self._denoiser.layout.patch else (latents[0], out[1], *shape[1:])
        if tuple(out[: len(right)]) != tuple(right):
            raise GenerationFailed(f"the denoiser returned shape {list(out)} for latents of shape {list(latents)}")

    def _update(
        self,
        state: LatentState,
        calls: Sequence[ResidentCall],
        batch: _Batch,
        values: dict[str, Any],
        outs: Sequence[Any],
        rule: GuidanceRule,
    ) -> tuple[Any, Any]:
        """Write the next state; return the sizes [rows] of its latents, and the requested estimates or None."""
        shown = np.array([place for place, call in enumerate(calls) if call.estimated], np.int32)
        noisy, masked = any(call.row.draws for call in calls), any(call.row.kept for call in calls)
        recipe = UpdateRecipe(
            state.shape,
            state.latents.axes[0],
            values["coefficients"].shape()[1],
            dtype_of(outs[0]),
            tuple(outs[0].shape()[1:]),
            patch=self._denoiser.layout.patch,
            parts=len(outs),
            terms=values["coefficients"].shape()[1] - Column.WEIGHTS,
            guided=batch.guided,
            rescaled=any(call.rescale for call in calls),
            norm=rule.norm,
            shrinks=rule.shrinks,
            noisy=noisy,
            masked=masked,
            estimated=bool(shown.size),
        )
        values |= {**batch.values, **{f"out{place}": out for place, out in enumerate(outs)}}
        values["state"] = state.latents.current
        if masked:
            values["masks"] = state.masks
        if noisy:
            values["noise"] = self._buffers.sent("noise", self._noise(calls, state.shape))
        outputs = {"size": self._buffers("size", (len(calls),), "float32"), "updated": state.latents.spare}
        if shown.size:
            values["estimated"] = self._buffers.sent("estimated", shown)
            outputs["estimate"] = self._buffers("estimate", (len(shown), *state.shape), "float32")
        self._functions(write_update, recipe)(values, outputs)
        return outputs["size"], outputs.get("estimate")

    @staticmethod
    def _noise(calls: Sequence[ResidentCall], shape: LatentShape) -> Array:
        """Return the fresh noise of the rows that add it, and zeros for others."""
        noise = np.zeros((len(calls), *shape), np.float32)
        for place, call in enumerate(calls):
            if call.row.draws:
                noise[place] = call.row.fresh_noise()
        return noise

    def _batch(self, calls: Sequence[ResidentCall], width: int) -> _Batch:
        """Return what the rows of a call share, as it was at their last one."""
        kept = [(call.row.slot, call.row.channels, *call.conditionings) for call in calls]
        key = width, tuple((slot, *map(id, objects)) for slot, *objects in kept)
        if key not in self._batches:
            self._batches[key] = self._new_batch(calls, width, kept)
            if len(self._batches) > BATCHES:
                self._batches.popitem(last=False)
        self._batches.move_to_end(key)
        return self._batches[key]

    def _new_batch(self, calls: Sequence[ResidentCall], width: int, kept: object) -> _Batch:
        """Prepare the calls: rows with their prompts come first, then the guided ones with their negative prompts."""
        guided = [place for place, call in enumerate(calls) if len(call.conditionings) > 1]
        rows = [*range(len(calls)), *guided]
        negative = [False] * len(calls) + [True] * len(guided)
        conditionings = [calls[row].conditionings[other] for row, other in zip(rows, negative, strict=True)]
        groups = call_groups(conditionings, width)
        parts = [self._part(calls, [rows[i] for i in group], [conditionings[i] for i in group]) for group in groups]
        order = {entry: place for place, entry in enumerate(entry for group in groups for entry in group)}
        cond = np.array([order[place] for place in range(len(calls))], np.int32)
        uncond = cond.copy()
        uncond[guided] = [order[len(calls) + place] for place in range(len(guided))]
        slots = np.array([call.row.slot for call in calls])
        arrays: dict[str, Values] = {
            "slots": slots.astype(np.int32),
            "scattered": slots.astype(np.int64)[:, np.newaxis],
            "cond": cond,
        }
        if guided:
            arrays["uncond"] = uncond
        elif len(groups) == 1:
            del arrays["cond"]
        return _Batch(parts, {name: self._device.send(array) for name, array in arrays.items()}, bool(guided), kept)

    def _part(self, calls: Sequence[ResidentCall], rows: Sequence[int], conditionings: Sequence[Conditioning]) -> _Part:
        """Prepare one denoiser call for places in `calls`, and their conditionings."""
        places = {"slots": np.array([calls[row].row.slot for row in rows], np.int32), "rows": np.array(rows, np.int32)}
        values = {name: self._device.send(array) for name, array in places.items()}
        own, dtype = [calls[row].row for row in rows], self._denoiser.layout.dtype
        channels = [row.channels for row in own if row.channels is not None]
        references = self._denoiser.reference_tokens(conditionings)
        if channels:
            values["channels"] = self._device.send(np.stack(channels).astype(dtype))
        if references is not None:
            values["references"] = self._device.send(references.astype(dtype))
        constants = self._denoiser.constants(conditionings, own[0].state.shape)
        tokens = 0 if references is None else references.shape[1]
        return _Part(len(rows), constants, values, channels[0].shape[0] if channels else 0, tokens)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """After an error release all that can be made again; report a lack of memory as OutOfMemory.

        The denoiser's inputs are released only for their memory.
        """
        try:
            yield
        except Cancelled:
            raise
        except Exception as error:
            self._batches.clear()
            self._buffers.clear()
            self._functions.clear()
            if isinstance(error, NotResident):
                self._works = False
                log.warning("latents stay on the host, because the device can't update them: %s", error)
            if isinstance(error, OutOfMemory) or is_out_of_memory(error):
                self._inputs.clear()
                raise OutOfMemory("the device has no memory for the latents of this size") from error
            raise
