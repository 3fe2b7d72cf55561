"""Measure the share of a job's time that the engine spends outside onnxruntime.

    python bench/engine_gap.py [MODEL_FOLDER] [--steps 16] [--rounds 5] [--size 256] [--batch 0 1 4] [--provider webgpu]
                                [--jobs "one image" previews] [--metrics]

The measured time is from the start of a job's first denoiser call to the end of its last. "outside" is the share of the
wall time in which no session of onnxruntime runs and no result is fetched from the device, which waits for its kernels.
It includes copies to the device, and on a busy machine other programs.
"own work" is the CPU time of the device thread between calls, relative to the calls. "batch" is the maximum of rows per
call; 0 means that the engine measures the width.
Goal: "outside" below 5 %.

On a provider with device buffers each job runs in turns with its latents on the host and on the device, and "up" and
"down" are the bytes sent and fetched for each denoiser call.
With --metrics each job runs in turns with and without measurements for Prometheus.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from contextlib import aclosing
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from tintype.service.engine import DeviceThread, Engine, Limits
from tintype.service.job import Job, Previews
from tintype.service.metrics.measurements import Measurements
from tintype.service.metrics.observer import IGNORE
from tintype.service.models import Repository
from tintype.service.models.resident.denoising import ResidentDenoiser
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.provider_options import DEVICES
from tintype.service.models.runtime.providers import onnxruntime

GOAL = 0.05
METRICS = "metrics"  # part of the name of a place
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


@dataclass(frozen=True)
class Recorded:
    """A call or a fetch: its kind, its start and end, the bytes sent before it, and those that it fetched."""

    kind: str
    began: TimePoint
    ended: TimePoint
    up: int
    down: int


class Stopwatch:
    """Records calls of onnxruntime's sessions, and copies from the device."""

    def __init__(self) -> None:
        self.calls: list[Recorded] = []
        self._kind = ""  # of the graph that runs
        self._up = 0
        self._patched: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Self:
        ort = onnxruntime()
        for name in ("run", "run_on_device"):
            self._wrap(OrtGraph, name, self._of_graph)
        for owner, name in (
            (ort.InferenceSession, "run"),
            (ort.InferenceSession, "run_with_iobinding"),
            (ort.OrtValue, "numpy"),
        ):
            self._wrap(owner, name, self._timed)
        self._wrap(ort.OrtValue, "update_inplace", self._sent)
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, function in self._patched:
            setattr(owner, name, function)

    def _wrap(self, owner: Any, name: str, around: Any) -> None:
        function = getattr(owner, name)
        self._patched.append((owner, name, function))
        setattr(owner, name, lambda *args, **options: around(function, *args, **options))

    def _of_graph(self, function: Any, graph: Any, outputs: Any, feeds: Any) -> Any:
        """Call a graph; what it calls has its first output's name."""
        before, self._kind = self._kind, outputs[0]
        try:
            return function(graph, outputs, feeds)
        finally:
            self._kind = before

    def _timed(self, function: Any, *args: Any, **options: Any) -> Any:
        """Record a call of a session, or a fetch, which waits for the device."""
        began = TimePoint.now()
        result = function(*args, **options)
        ended = TimePoint.now()
        down = result.nbytes if function.__name__ == "numpy" else 0
        kind = self._kind if not down else "fetch"
        self.calls.append(Recorded(kind, began, ended, self._up, down))
        self._up = 0
        return result

    def _sent(self, function: Any, value: Any, array: Any) -> Any:
        self._up += getattr(array, "nbytes", 0)
        return function(value, array)

    def summary(self) -> Summary:
        """Return the summary of the calls from a job's first denoiser call to the end of its last step, and clear them.

        A device computes until a result is fetched, at the latest at the end of the step.
        """
        indices = [i for i, call in enumerate(self.calls) if call.kind in DENOISED]
        last = indices[-1]
        fetched = (i for i, call in enumerate(self.calls) if i >= last and call.down)
        calls, self.calls = self.calls[indices[0] : next(fetched, last) + 1], []
        inside = sum(call.ended.wall - call.began.wall for call in calls)
        window = calls[-1].ended.wall - calls[0].began.wall
        gaps = [after.began.cpu - before.ended.cpu for before, after in pairwise(calls)]
        count = len(indices)
        up, down = sum(call.up for call in calls), sum(call.down for call in calls)
        shares = 1 - inside / window, sum(gaps) / inside
        return Summary(inside / count, *shares, statistics.median(gaps), up / count, down / count)


@dataclass(frozen=True)
class Summary:
    """Seconds per call; share of the wall time outside; CPU time between calls, relative to them; bytes per call.

    `between` is the median CPU time between two calls, in seconds.
    """

    call: float
    outside: float
    own: float
    between: float
    up: float
    down: float


async def generate(device: DeviceThread, job: Job) -> None:
    """Run one job to its end and discard the image."""
    async with aclosing(device.events(job)) as events:
        async for _ in events:
            pass


def jobs(args: argparse.Namespace) -> dict[str, Job]:
    """Return the measured jobs by name."""
    common: dict[str, Any] = {"prompt": "a red circle", "steps": args.steps, "width": args.size, "height": args.size}
    found = {
        "one image": Job(**common, seed=1),
        "no progress": Job(**common, seed=1, progress=False),
        "no guidance": Job(**common, seed=1, guidance_scale=1.0),
        "previews": Job(**common, seed=1, previews=Previews(every=1)),
        "four images": Job(**common, seed=1, count=4),
        "euler a": Job(**common, seed=1, sampler="euler_ancestral"),
    }
    return {name: found[name] for name in args.jobs or found}


async def measure(args: argparse.Namespace, repository: Repository, batch: int) -> None:
    """Print one line for each job, and for each place of the latents."""
    on_device = bool(repository.wait(timeout=600).spec.provider in DEVICES)
    takes, places = ResidentDenoiser.takes, ["host", "device"] if on_device else ["host"]
    places += [f"{place} {METRICS}" for place in places] if args.metrics else []
    engine, measurements = Engine(repository, limits=Limits(max_batch=batch)), Measurements()
    with Stopwatch() as watch, DeviceThread(engine) as device:
        for name, job in jobs(args).items():
            sums: dict[str, list[Summary]] = {place: [] for place in places}
            for i in range(args.rounds + 1):
                for place in places:
                    ResidentDenoiser.takes = takes if "device" in place else _never  # type: ignore[method-assign, assignment]
                    engine._observer = measurements if METRICS in place else IGNORE
                    watch.calls = []
                    await generate(device, job)
                    found = watch.summary()
                    if i:  # the first round compiles and captures
                        sums[place].append(found)
            for place in places:
                print(line(f"batch {batch}  {name:14} {place:14}", sums[place], on_device=on_device), flush=True)
    ResidentDenoiser.takes = takes  # type: ignore[method-assign]


def _never(*_: object) -> bool:
    return False


def line(title: str, sums: list[Summary], *, on_device: bool) -> str:
    """Return the medians of the rounds as text."""
    call, outside, own, between, up, down = (
        statistics.median(getattr(s, f.name) for s in sums) for f in fields(Summary)
    )
    text = f"{title} {1000 * call:8.2f} ms per call {outside:8.2%} outside {own:8.2%} own work, {1e6 * between:5.0f} us"
    return f"{text} {up:10.0f} B up {down:10.0f} B down" if on_device else text


def main() -> None:
    """Measure with several limits of rows per call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--metrics", action="store_true", help="run each job also with measurements")
    parser.add_argument("--jobs", nargs="+", help="names of jobs; default: all")
    args = parser.parse_args()
    for batch in args.batch:
        with Repository([args.model] if args.model else [], providers=[args.provider]) as repository:
            asyncio.run(measure(args, repository, batch))
    print(f"goal: below {GOAL:.0%}")


if __name__ == "__main__":
    main()
