"""A row: one picture on its way, and the one place where its arrays live."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from ..numerics import TorchNoise, Trajectory

if TYPE_CHECKING:
    from ..models.model import Array, Conditioning
    from .image_start import Origin
    from .task import Task


class Phase(IntEnum):
    """What a row needs next; a row never goes back."""

    ENCODE = 0
    DENOISE = 1
    DECODE = 2
    DONE = 3


class Row:
    """Picture `index` of a task.

    `alone` rows share no call: one that they were in has failed. `denoise` and `decode` are the seconds spent so far.
    """

    def __init__(self, task: Task, index: int) -> None:
        self.task = task
        self.index = index
        self.seed = task.plan.seeds[index]
        self.phase = Phase.ENCODE
        self.alone = False
        self.previews = 0
        self.denoise = 0.0
        self.decode = 0.0
        self.noise = TorchNoise(self.seed)
        self._origin: Origin | None = None
        self._trajectory: Trajectory | None = None

    @property
    def trajectory(self) -> Trajectory:
        """The way from noise or a picture; noise is drawn when it is first needed, so that waiting costs no memory."""
        if self._trajectory is None:
            plan = self.task.plan
            self._trajectory = (
                self._origin.trajectory(plan, self.noise)
                if self._origin
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
    def halves(self) -> int:
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
        return tuple(made[place] for place in self.task.plan.places(self.step))

    def model_input(self) -> tuple[Array, float]:
        """Return what the next call sees: latents, what an inpainting model sees beside them, and the timestep."""
        x, timestep = self.trajectory.model_input()
        beside = self._origin.beside if self._origin else None
        return x if beside is None else np.concatenate([x, beside]), timestep

    def encode_again(self) -> None:
        """Begin anew after an attempt that failed: with the noise that it may have drawn."""
        self.noise = TorchNoise(self.seed)

    def begin_at(self, origin: Origin) -> None:
        """Take the picture to start from."""
        self._origin = origin

    def encoded(self) -> None:
        """All that it needs to begin is there."""
        self.phase = Phase.DENOISE if self.task.plan.calls else Phase.DECODE

    def advance(self, out: Array) -> None:
        """Take the denoiser's guided output [c, h, w]."""
        self.trajectory.advance(out)
        if self._origin:
            self._origin.restore(self.trajectory)
        if self.trajectory.done:
            self.phase = Phase.DECODE

    @property
    def is_finite(self) -> bool:
        """Whether its latents are numbers, which nothing that follows could make of them again."""
        return bool(np.isfinite(self.trajectory.x).all())

    def finish(self) -> None:
        """Let go of the arrays: the picture is made, or nobody wants it."""
        self.phase = Phase.DONE
        self._origin = self._trajectory = None
