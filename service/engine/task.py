"""A task, which is one accepted job, and its rows, one per image.

A row owns the arrays of its image: noise, latents, and the image that it starts from. Only the device thread uses them.
"""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias, cast

from ..models.residency.leases import Lease, LeaseState
from ..models.resident.trajectory import ResidentTrajectory
from ..numerics import TorchNoise, Trajectory
from .events import STAGES, Completed, Stage, Timings

if TYPE_CHECKING:
    from ..models.model import Array, Conditioning, ControlInput, Model
    from ..models.resident.interface import ResidentLatents
    from .batch_width import BatchLimit, BatchWidths
    from .estimates import Cost, Estimates
    from .image_start import ImageStart
    from .plan import Plan, Ticket

    Arrays: TypeAlias = tuple[Array, ...]
    Conditionings: TypeAlias = tuple[Conditioning, ...]

PROMPTS_PER_UNIT = 2  # prompts that one unit of work encodes
MAX_ENCODES_TO_JOIN = 4  # units of encoding that a running batch waits for, so that a task can join it


class Phase(IntEnum):
    """The next unit of work of a row; phases never go back."""

    ENCODE = 0
    DENOISE = 1
    DECODE = 2
    DONE = 3


class Row:
    """Image `index` of a task.

    An `unbatched` row shares no call, because a shared call failed. `denoise` and `decode` are seconds spent so far.
    `model_rows` are its batch entries: 1, or 2 with guidance, for the negative prompt.
    """

    def __init__(self, task: Task, index: int) -> None:
        self.task = task
        self.index = index
        self.seed = task.plan.seeds[index]
        self.model_rows = 2 if task.plan.guided else 1
        self.phase = Phase.ENCODE
        self.unbatched = False
        self.previews = 0
        self.denoise = 0.0
        self.decode = 0.0
        self.noise = TorchNoise(self.seed)
        self.image_start: ImageStart | None = None
        self.controls: tuple[ControlInput, ...] = ()
        self._trajectory: Trajectory | ResidentTrajectory | None = None

    @property
    def trajectory(self) -> Trajectory | ResidentTrajectory:
        """The trajectory from noise or from an image. Noise is drawn on first use, so waiting rows need no memory."""
        if self._trajectory is None:
            plan = self.task.plan
            if self.image_start:
                self._trajectory = self.image_start.trajectory(plan, self.noise)
            else:
                self._trajectory = Trajectory.from_noise(plan.table, plan.shape, self.noise)
        return self._trajectory

    @property
    def step(self) -> int:
        """Number of finished denoiser calls."""
        return self._trajectory.i if self._trajectory else 0

    @property
    def calls_left(self) -> int:
        """Number of denoiser calls to come."""
        return self.task.plan.calls - self.step if self.phase < Phase.DECODE else 0

    @property
    def timestep(self) -> float:
        """The model's timestep at the next call."""
        return self.task.plan.table.calls[self.step].timestep

    def preview_due(self, more: int = 0) -> bool:
        """Return whether the job requests a preview after this step, or after `more` denoiser calls."""
        return self.task.has_previews and self.task.ticket.job.previews.due(self.step + more, self.task.calls)

    @property
    def conditionings(self) -> tuple[Conditioning, ...]:
        """The conditionings of the next call: of the prompt and, with guidance, of the negative prompt."""
        chosen, plan = self.task.conditionings, self.task.plan
        if len(chosen) > self.model_rows:  # a prompt changes over the steps
            chosen = tuple(chosen[index] for index in plan.prompt_indices(self.step))
        if not self.controls:
            return chosen
        active = tuple(control for control in self.controls if control.active(self.step, plan.calls))
        return tuple(replace(each, controls=active) for each in chosen)

    def on_host(self) -> Trajectory:
        """Return the trajectory, moved to the host if it is on a device."""
        if isinstance(self.trajectory, ResidentTrajectory):
            self._trajectory = self.trajectory.to_host()
        return cast("Trajectory", self._trajectory)

    def on_device(self, resident: ResidentLatents) -> ResidentTrajectory:
        """Return the trajectory, moved to the device if it is on the host or with a model that was unloaded."""
        trajectory = self.trajectory
        if isinstance(trajectory, ResidentTrajectory) and resident.holds(trajectory):
            return trajectory
        self._trajectory = joined = resident.join(self.on_host())
        return joined

    def reset_noise(self) -> None:
        """Restart the noise stream after a failed encoding, which may have drawn from it."""
        self.noise = TorchNoise(self.seed)

    def start(self) -> None:
        """Enter the phase after the encoding of prompts and image."""
        self.phase = Phase.DENOISE if self.task.plan.calls else Phase.DECODE

    def advance(self, out: Array) -> None:
        """Apply the guided output [c, h, w] of one denoiser call."""
        self.on_host().advance(out)
        self.advanced()

    def advanced(self) -> None:
        """Enter the phase after the last denoiser call."""
        if self.trajectory.done:
            self.phase = Phase.DECODE

    def finish(self) -> None:
        """Free the arrays: the image is finished or no longer needed."""
        self.phase = Phase.DONE
        self.image_start = self._trajectory = None


class Task:
    """One accepted job. Times are seconds, of the engine's clock or durations; work is in microseconds.

    Attributes:
        number: its place in the order of arrival.
        caller: the caller, to which fair queueing applies.
        priority: of the job; higher goes first.
        deadline: time by which the job must be done.
        batch_key: model and latent shape, which rows of one call share.
        batched_timestep: whether rows of one call may have different timesteps.
        cost_class: tasks of one class have equal estimates until they start.
        served_before: work done for its caller when it arrived, see `FairQueue`.
        position, wait, percent: the last reported position in the queue, seconds to its start, and percent loaded.
        lease: its lease of its model, see `models.residency.leases`.
        stages: when it was in its stages so far, by name, see `events.Stage`.
        evicted_idle: whether idle models have been evicted because one of its units ran out of memory.
    """

    def __init__(self, ticket: Ticket, arrived: float, cost: Cost, widths: BatchWidths) -> None:
        self.ticket = ticket
        self._widths = widths
        self.plan: Plan = ticket.plan
        self.number, self.caller, self.priority = ticket.number, ticket.job.caller, ticket.job.priority
        self.deadline = ticket.job.deadline
        self.batch_key, self.batched_timestep = self.plan.batch_key, self.plan.batched_timestep
        self.arrived = arrived
        self.cost = cost
        self.served_before = 0
        self.images, self.calls = len(self.plan.seeds), self.plan.calls
        previews = ticket.job.previews
        self.has_previews = bool(previews.count or previews.every)
        self.chunks = 0  # of the longest prompt, if there are several units of encoding
        self.prompt_count = len(self.plan.prompts)
        self.cost_class = self.batch_key, self.plan.guided, self.plan.reads_images, self.calls, self.images
        self.rows = [Row(self, index) for index in range(self.images)]
        self.lease = Lease(self.plan.slot or self.plan.model, self.priority)
        self.evicted_idle = False
        self.conditionings: tuple[Conditioning, ...] = ()
        self.position = -1
        self.wait: float | None = None
        self.percent = -1
        self.encode = self.denoise = self.decode = 0.0
        self.stages: dict[str, Stage] = {}
        self._load_began: float | None = None

    @property
    def batch_limit(self) -> BatchLimit:
        """The largest batch that this task may lead."""
        return self._widths.limit(self.batch_key)

    def width(self, model_rows: int) -> int:
        """Return how many of `model_rows` rows share one call of the model."""
        return self._widths.choose(self.batch_key, model_rows)

    @property
    def conditioning_key(self) -> object:
        """Shape of the conditioning, which rows of one call share; None before it is encoded.

        While more than MAX_ENCODES_TO_JOIN units of encoding are left, it is a unique object: no batch waits for them.
        """
        if self.encodes_left > MAX_ENCODES_TO_JOIN:
            return self
        return self.conditionings[0].key if not self.encodes_left else None

    @property
    def encodes_left(self) -> int:
        """Number of units of encoding to come."""
        return -(-(self.prompt_count - len(self.conditionings)) // PROMPTS_PER_UNIT)

    @property
    def state(self) -> LeaseState:
        """State of its lease, from admission to the release of its hold."""
        return self.lease.state

    @property
    def started(self) -> bool:
        """Whether a unit of it has started."""
        return self.state is LeaseState.RUNNING

    @property
    def model(self) -> Model | None:
        """Its model, if it was in memory at the last lookup. A started task keeps its model."""
        return self.lease.model

    @property
    def unfinished(self) -> list[Row]:
        """Rows that are not done, in order of remaining work."""
        rows = [row for row in self.rows if row.phase is not Phase.DONE]
        return sorted(rows, key=lambda row: (-row.phase, row.calls_left)) if len(rows) > 1 else rows

    @property
    def work(self) -> int:
        """Remaining work in microseconds, by its cost."""
        if not self.started:
            each = self.calls * self.cost.call + self.cost.decode
            return self.encodes_left * self.cost.encode + self.images * each
        rows = [row for row in self.rows if row.phase is not Phase.DONE]
        calls = sum(row.calls_left for row in rows)
        return self.encodes_left * self.cost.encode + calls * self.cost.call + len(rows) * self.cost.decode

    def seconds_left(self, estimates: Estimates) -> float | None:
        """Estimate the remaining seconds without waiting; None while nothing was measured."""
        rows, limit = [row for row in self.rows if row.phase is not Phase.DONE], self.batch_limit
        left = [calls for calls in (row.calls_left for row in rows) if calls]
        model_rows = self.rows[0].model_rows
        batch = max(min(limit.images, limit.model_rows // model_rows, len(left)), 1)
        call = estimates.call_seconds(self.batch_key, batch * model_rows)
        if call is None:
            return None
        decode = estimates.decode_seconds(self.batch_key) * len(rows)
        seconds = sum(left) / batch * call + decode
        return seconds + encodes * estimates.encode_seconds(self.plan) if (encodes := self.encodes_left) else seconds

    def timings(self, now: float, row: Row | None = None) -> Timings:
        """Return how the time since arrival was spent, of one row or of all; time without work counts as waiting."""
        timed = row or self
        waited = now - self.arrived - self.encode - timed.denoise - timed.decode
        return Timings(max(waited, 0.0), self.encode, timed.denoise, timed.decode)

    def record(self, stage: str, seconds: float, ended: float) -> None:
        """Add `seconds` of work, until the time `ended`, to a stage."""
        began, busy = ended - seconds, seconds
        if old := self.stages.get(stage):
            began, busy = old.began, old.busy + seconds
        self.stages[stage] = Stage(stage, began, ended, busy)

    def record_load(self, now: float) -> None:
        """Record whether its model is waited for at the time `now`, between two units."""
        if self.state.awaits_model:
            self._load_began = now if self._load_began is None else self._load_began
        elif self._load_began is not None:
            self.record("load", now - self._load_began, now)
            self._load_began = None

    def add_conditionings(self, new: Conditionings, edited: Arrays = ()) -> None:
        """Add the conditionings of the next prompts; the last ones come with the latents of images to edit."""
        self.conditionings += new
        if edited:
            self.conditionings = tuple(replace(each, references=edited) for each in self.conditionings)
        for row in self.rows if not self.encodes_left else ():
            row.start()

    def completion(self, now: float) -> Completed:
        """Return the last event of a task without failures."""
        tokens = sum(conditioning.tokens for conditioning in self.conditionings)
        return Completed(
            self.plan.model, self.images, self.calls * self.images, tokens, self.timings(now), self.all_stages
        )

    @property
    def all_stages(self) -> tuple[Stage, ...]:
        """The stages so far, in order."""
        return tuple(self.stages[name] for name in STAGES if name in self.stages)

    def drop_arrays(self) -> None:
        """Drop latents and conditionings (device thread only)."""
        for row in self.rows:
            row.finish()
        self.conditionings = ()
