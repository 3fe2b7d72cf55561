"""A task: a job that was accepted, its rows, and what the engine remembers of it.

A row is one image on its way, and the one position where its arrays live.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from ..numerics import TorchNoise, Trajectory
from .events import Completed, Timings

if TYPE_CHECKING:
    from ..job import Job
    from ..models.model import Array, Conditioning, Model
    from .batch_width import BatchLimit, BatchWidths
    from .estimates import Cost, Estimates
    from .image_start import ImageStart
    from .plan import BatchKey, Plan

PROMPTS_PER_UNIT = 2  # prompt_count that one unit of work encodes
MAX_ENCODES_TO_JOIN = 4  # units of encoding that others wait for, so that a task may join their calls


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """What an accepted job is known by; `number` counts from 0 in the order of arrival."""

    number: int
    job: Job
    plan: Plan = field(repr=False)


class Phase(IntEnum):
    """What a row needs next; a row never goes back."""

    ENCODE = 0
    DENOISE = 1
    DECODE = 2
    DONE = 3


class Row:
    """Image `index` of a task.

    `unbatched` rows share no call, after one that failed. `denoise` and `decode` are the seconds spent so far.
    """

    def __init__(self, task: Task, index: int) -> None:
        self.task = task
        self.index = index
        self.seed = task.plan.seeds[index]
        self.phase = Phase.ENCODE
        self.unbatched = False
        self.previews = 0
        self.denoise = 0.0
        self.decode = 0.0
        self.noise = TorchNoise(self.seed)
        self._start: ImageStart | None = None
        self._trajectory: Trajectory | None = None

    @property
    def trajectory(self) -> Trajectory:
        """The way from noise or an image; noise is drawn when it is first needed, so that waiting costs no memory."""
        if self._trajectory is None:
            plan = self.task.plan
            self._trajectory = (
                self._start.trajectory(plan, self.noise)
                if self._start
                else Trajectory.from_noise(plan.table, plan.shape, self.noise)
            )
        return self._trajectory

    @property
    def step(self) -> int:
        """How many calls of the denoiser are done."""
        return self._trajectory.i if self._trajectory else 0

    @property
    def calls_left(self) -> int:
        """How many calls of the denoiser are to come."""
        return self.task.plan.calls - self.step if self.phase < Phase.DECODE else 0

    @property
    def timestep(self) -> float:
        """The model's time at the next call."""
        return float(self.task.plan.table.timesteps[self.step])

    @property
    def model_rows(self) -> int:
        """How many rows the model sees of it: guidance takes a second one, for the negative prompt."""
        return 2 if self.task.plan.guided else 1

    @property
    def preview_due(self) -> bool:
        """Whether the job wants to see it after this step."""
        return self.task.ticket.job.previews.due(self.step, self.task.plan.calls)

    @property
    def conditionings(self) -> tuple[Conditioning, ...]:
        """The conditionings of the next call.

        The prompt's comes first, and with guidance the negative prompt's after it.
        """
        made = self.task.conditionings
        return tuple(made[position] for position in self.task.plan.prompt_indices(self.step))

    def model_input(self) -> tuple[Array, float]:
        """Return what the next call sees: latents, with the extra channels of an inpainting model, and the timestep."""
        x, timestep = self.trajectory.model_input()
        extra_channels = self._start.extra_channels if self._start else None
        return x if extra_channels is None else np.concatenate([x, extra_channels]), timestep

    def reset_noise(self) -> None:
        """Begin anew after an attempt that failed: with the noise that it may have drawn."""
        self.noise = TorchNoise(self.seed)

    def start_from(self, start: ImageStart) -> None:
        """Take the image to start from."""
        self._start = start

    def start(self) -> None:
        """All that it needs to begin is there."""
        self.phase = Phase.DENOISE if self.task.plan.calls else Phase.DECODE

    def advance(self, out: Array) -> None:
        """Take the denoiser's guided output [c, h, w]."""
        self.trajectory.advance(out)
        if self._start:
            self._start.restore(self.trajectory)
        if self.trajectory.done:
            self.phase = Phase.DECODE

    @property
    def is_finite(self) -> bool:
        """Whether its latents are numbers, which nothing that follows could make of them again."""
        return bool(np.isfinite(self.trajectory.x).all())

    def finish(self) -> None:
        """Let go of the arrays: the image is made, or nobody wants it."""
        self.phase = Phase.DONE
        self._start = self._trajectory = None


class Task:
    """One accepted job. Times are points of the engine's clock or durations, in seconds; work is in microseconds.

    Attributes:
        cost_class: tasks of one class have equal estimates until they start.
        served_before: work done for its caller when it arrived, see `FairQueue`.
        position, wait, percent: what was last reported: place in the queue, seconds to its start, percent loaded.
        loading: its model was last seen loading.
        waiting: its model waits for memory that other tasks hold.
        holds: it keeps its model in memory.
        fresh: its model has been loaded and not been used since.
        relieved: idle models have been evicted for it.
    """

    def __init__(self, ticket: Ticket, arrived: float, cost: Cost, widths: BatchWidths) -> None:
        self.ticket = ticket
        self._widths = widths
        self.plan: Plan = ticket.plan
        self.arrived = arrived
        self.cost = cost
        self.served_before = 0
        self.images, self.calls = len(self.plan.seeds), self.plan.calls
        self.chunks = 0  # of the longest text, where there are many
        self.prompt_count = len(self.plan.prompts)
        self.cost_class = self.batch_key, self.plan.guided, self.plan.source is not None, self.calls, self.images
        self.rows = [Row(self, index) for index in range(self.images)]
        self.model: Model | None = None
        self.started = False
        self.holds = False
        self.fresh = False
        self.loading = False
        self.waiting = False
        self.relieved = False
        self.conditionings: tuple[Conditioning, ...] = ()
        self.position = -1
        self.wait: float | None = None
        self.percent = -1
        self.encode = self.denoise = self.decode = 0.0

    @property
    def number(self) -> int:
        """Its position in the order of arrival."""
        return self.ticket.number

    @property
    def caller(self) -> str:
        """Whom the engine is fair to."""
        return self.ticket.job.caller

    @property
    def priority(self) -> int:
        """Higher goes first."""
        return self.ticket.job.priority

    @property
    def deadline(self) -> float | None:
        """When it must be done."""
        return self.ticket.job.deadline

    @property
    def batch_key(self) -> BatchKey:
        """What rows must have in common to share a call."""
        return self.plan.batch_key

    @property
    def batch_limit(self) -> BatchLimit:
        """What a unit that it leads holds at most."""
        return self._widths.limit(self.batch_key)

    def width(self, model_rows: int) -> int:
        """Return how many of `model_rows` rows of the model share a call."""
        return self._widths.choose(self.batch_key, model_rows)

    @property
    def batched_timestep(self) -> bool:
        """Whether rows of one call may be at different timesteps."""
        return self.plan.batched_timestep

    @property
    def conditioning_key(self) -> object:
        """The shape of its conditioning; None before it is encoded.

        Rows of one call share it as well. While many units of encoding are left it is like no other, so that no call of
        others waits for all of them.
        """
        if self.encodes_left > MAX_ENCODES_TO_JOIN:
            return self
        return self.conditionings[0].key if not self.encodes_left else None

    @property
    def encodes_left(self) -> int:
        """How many units of encoding are left."""
        return -(-(self.prompt_count - len(self.conditionings)) // PROMPTS_PER_UNIT)

    @property
    def ready(self) -> bool:
        """Whether its model is in memory; `started` tasks keep theirs, whatever becomes of it elsewhere."""
        return self.model is not None

    @property
    def awaited(self) -> bool:
        """Whether its model has to come first."""
        return self.loading and not self.ready

    @property
    def unfinished(self) -> list[Row]:
        """The rows that are not done, the one nearest to its end first."""
        rows = [row for row in self.rows if row.phase is not Phase.DONE]
        return sorted(rows, key=lambda row: (-row.phase, row.calls_left)) if len(rows) > 1 else rows

    @property
    def work(self) -> int:
        """What is left to do, at its cost."""
        if not self.started:
            each = self.calls * self.cost.call + self.cost.decode
            return self.encodes_left * self.cost.encode + self.images * each
        left = self.encodes_left * self.cost.encode
        for row in self.rows:
            if row.phase is not Phase.DONE:
                left += row.calls_left * self.cost.call + self.cost.decode
        return left

    def seconds_left(self, estimates: Estimates) -> float | None:
        """Estimate the seconds that it still needs, if it need not wait."""
        rows = [row for row in self.unfinished if row.calls_left]
        model_rows = 2 if self.plan.guided else 1
        batch = max(min(self.batch_limit.images, self.batch_limit.model_rows // model_rows, len(rows)), 1)
        call = estimates.call_seconds(self.batch_key, batch * model_rows)
        if call is None:
            return None
        calls = sum(row.calls_left for row in rows) / batch
        decode = estimates.decode_seconds(self.batch_key) * len(self.unfinished)
        return calls * call + decode + self.encodes_left * estimates.encode_seconds(self.plan)

    def timings(self, now: float, row: Row | None = None) -> Timings:
        """Say where the time since its arrival went, for one row or for all; what was no work was waiting."""
        spent = row or self
        worked = self.encode + spent.denoise + spent.decode
        return Timings(max(now - self.arrived - worked, 0.0), self.encode, spent.denoise, spent.decode)

    def add_conditionings(self, conditionings: tuple[Conditioning, ...], starts: list[ImageStart] | None) -> None:
        """Take the conditionings of the next prompt_count.

        After the last one come the beginnings of rows that start from an image.
        """
        self.conditionings += conditionings
        for row in self.rows if not self.encodes_left else ():
            if starts is not None:
                row.start_from(starts[row.index])
            row.start()

    def completion(self, now: float) -> Completed:
        """Sum it up."""
        images = len(self.rows)
        tokens = sum(conditioning.tokens for conditioning in self.conditionings)
        return Completed(self.plan.model, images, self.plan.calls * images, tokens, self.timings(now))

    def release(self) -> None:
        """Drop arrays and model, in the device thread."""
        for row in self.rows:
            row.finish()
        self.model, self.conditionings = None, ()
