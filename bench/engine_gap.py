"""Measure the share of a job's time that the engine spends outside onnxruntime.

    python bench/engine_gap.py [MODEL_FOLDER] [--steps 16] [--rounds 5] [--size 256]

The measured time is from the start of a job's first denoiser call to the end of its last. "outside" is the share of the
wall time that no onnxruntime call runs; on a busy machine it includes other programs. "own work" is the CPU time of the
device thread between calls, relative to the calls. "batch" is the maximum of rows per call; 0 means that the engine
measures the width.
Goal: "outside" below 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tintype.service.engine import DeviceThread, Engine, Limits
from tintype.service.job import Job, Previews
from tintype.service.models import Repository
from tintype.service.models.runtime.ort import OrtGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

GOAL = 0.05
DENOISED = ("out_sample", "out_hidden_states")  # names of outputs of denoiser graphs


@dataclass(frozen=True)
class TimePoint:
    """A point in time in seconds: wall time, and the device thread's CPU time."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> TimePoint:
        """Return the current time."""
        return cls(time.perf_counter(), time.thread_time())


class Stopwatch:
    """Records start, end and output name of each onnxruntime call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, TimePoint, TimePoint]] = []
        self._run = OrtGraph.run

    def __enter__(self) -> Self:
        watch = self

        def timed(graph: OrtGraph, outputs: Sequence[str], feeds: Any) -> Any:
            began = TimePoint.now()
            result = watch._run(graph, outputs, feeds)
            watch.calls.append((outputs[0], began, TimePoint.now()))
            return result

        OrtGraph.run = timed  # type: ignore[assignment, method-assign]  # the only way to the bare call
        return self

    def __exit__(self, *_: object) -> None:
        OrtGraph.run = self._run  # type: ignore[method-assign]

    def summary(self) -> Summary:
        """Return the summary from the first to the last denoiser call, and clear the record."""
        indices = [i for i, (name, _, _) in enumerate(self.calls) if name in DENOISED]
        calls, self.calls = self.calls[indices[0] : indices[-1] + 1], []
        inside = sum(ended.wall - began.wall for _, began, ended in calls)
        window = calls[-1][2].wall - calls[0][1].wall
        gaps = [after[1].cpu - before[2].cpu for before, after in pairwise(calls)]
        return Summary(inside / len(calls), 1 - inside / window, sum(gaps) / inside)


@dataclass(frozen=True)
class Summary:
    """Seconds per call; share of the wall time outside calls; CPU time between calls, relative to the calls."""

    call: float
    outside: float
    own: float


async def generate(device: DeviceThread, job: Job) -> None:
    """Run one job to its end and discard the image."""
    async with aclosing(device.events(job)) as events:
        async for _ in events:
            pass


def jobs(args: argparse.Namespace) -> dict[str, Job]:
    """Return the measured jobs by name."""
    common: dict[str, Any] = {"prompt": "a red circle", "steps": args.steps, "width": args.size, "height": args.size}
    return {
        "one image": Job(**common, seed=1),
        "no guidance": Job(**common, seed=1, guidance_scale=1.0),
        "previews": Job(**common, seed=1, previews=Previews(every=1)),
        "four images": Job(**common, seed=1, count=4),
        "euler a": Job(**common, seed=1, sampler="euler_ancestral"),
    }


async def measure(args: argparse.Namespace, repository: Repository, batch: int) -> None:
    """Print one line for each job."""
    repository.wait(timeout=600)
    with Stopwatch() as watch, DeviceThread(Engine(repository, limits=Limits(max_batch=batch))) as device:
        for name, job in jobs(args).items():
            await generate(device, job)
            watch.calls = []
            sums = []
            for _ in range(args.rounds):
                await generate(device, job)
                sums.append(watch.summary())
            call, outside, own = (statistics.median(getattr(s, f) for s in sums) for f in ("call", "outside", "own"))
            print(f"batch {batch}  {name:14} {1000 * call:8.2f} ms per call {outside:8.2%} outside {own:8.2%} own work")


def main() -> None:
    """Measure with three limits of rows per call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    for batch in (0, 1, 4):
        with Repository([args.model] if args.model else []) as repository:
            asyncio.run(measure(args, repository, batch))
    print(f"goal: below {GOAL:.0%}")


if __name__ == "__main__":
    main()
