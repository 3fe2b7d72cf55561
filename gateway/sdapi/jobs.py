"""What is being made for clients of the web UI: how far it is, and how it is stopped.

The web UI makes one thing at a time, so its API asks for "the" progress and interrupts "the" job. Here that is the
oldest one that still runs: of the same key where keys are needed, else of everybody.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .types import Progress, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tintype.v1 import image_service_pb2 as pb

BEGUN = 0.01  # the share that the web UI shows as soon as something runs


class Stopped(Exception):
    """A client has interrupted or skipped what is being made."""


@dataclass(slots=True, eq=False)
class Job:
    """One request for pictures, made in `parts`, one call of the service each; `size` is theirs, in pixels."""

    owner: str
    parts: int
    size: tuple[int, int]
    began: float = field(default_factory=time.monotonic)
    stamp: str = field(default_factory=lambda: time.strftime("%Y%m%d%H%M%S"))
    part: int = 0
    interrupted: bool = False
    skipped: bool = False
    preview: pb.Preview | None = None
    _pictures: int = 1
    _steps: dict[int, tuple[int, int]] = field(default_factory=dict)
    _end: float | None = None  # as the service estimates it, a point of `time.monotonic`
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    def begin(self, part: int, pictures: int) -> None:
        """Say that a part of so many pictures begins, from 0."""
        self.part, self._pictures, self._steps, self._end = part, pictures, {}, None
        self.skipped = False
        self._stop.clear()

    def hear(self, event: pb.StreamImagesResponse) -> None:
        """Take in what an event of the service says of the way."""
        if event.HasField("progress"):
            self._steps[event.progress.index] = (event.progress.step, event.progress.steps)
        elif event.HasField("preview"):
            self.preview = event.preview
        told = event.progress if event.HasField("progress") else event.queued
        if told.HasField("eta"):
            self._end = time.monotonic() + told.eta.ToMilliseconds() / 1000

    def stop(self, *, everything: bool) -> None:
        """End the part that is being made, or all of them."""
        self.interrupted |= everything
        self.skipped = not everything
        self._stop.set()

    async def stopped(self) -> None:
        """Wait until somebody stops what is being made."""
        await self._stop.wait()

    def progress(self) -> Progress:
        """Return how far it is, without a picture."""
        steps = max((steps for _, steps in self._steps.values()), default=0)
        step = sum(step for step, _ in self._steps.values()) // self._pictures
        share = min(1.0, BEGUN + (self.part + (step / steps if steps else 0)) / self.parts)
        state = State(
            skipped=self.skipped,
            interrupted=self.interrupted,
            job=f"Batch {self.part + 1} out of {self.parts}",
            job_count=self.parts,
            job_timestamp=self.stamp,
            job_no=self.part,
            sampling_step=step,
            sampling_steps=steps,
        )
        return Progress(progress=share, eta_relative=self._left(share), state=state)

    def _left(self, share: float) -> float:
        """Return the seconds to the end: the service's estimate where there is one part, else by what has passed."""
        now = time.monotonic()
        if self._end is not None and self.parts == 1:
            return max(0.0, self._end - now)
        return (now - self.began) * (1 / share - 1)


class Jobs:
    """Everything that runs, the oldest first."""

    def __init__(self) -> None:
        self._running: list[Job] = []

    @contextmanager
    def running(self, job: Job) -> Iterator[Job]:
        """Have a job among those that run, as long as the context lasts."""
        self._running.append(job)
        try:
            yield job
        finally:
            self._running.remove(job)

    def current(self, owner: str) -> Job | None:
        """Return the oldest job of `owner`, the key's name, that has not been interrupted; None where there is none."""
        return next((job for job in self._running if job.owner == owner and not job.interrupted), None)
