"""Compare latencies of a long job and eight short ones in the engine's order and in order of arrival.

    python bench/mixed_load.py [MODEL_FOLDER] [--long 100] [--short 4] [--rounds 5] [--threads 0]

The long job comes first. The short ones follow while it runs, one after every 5 % of the time that the long job takes
alone. Either each job has its own caller, or all have the same. "First come, first served" is the same engine with jobs
in order of arrival; rows still share calls. Both orders alternate. Figures are medians over the rounds, and ratios
compare latencies of one round. Goal: at most half the mean latency of "first come, first served".
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import numpy as np
from ratios import ratio_and_range

from tintype.service.engine import DeviceThread, Engine, policy
from tintype.service.engine.events import Finished
from tintype.service.job import Job
from tintype.service.models import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

GOAL = 0.5
SHORT_JOBS = 8


class Latencies(NamedTuple):
    """Latencies of one round in seconds: mean and 95th percentile of all jobs, 95th of the short ones, the long one."""

    mean: float
    p95: float
    short: float
    long: float


def order_by_arrival(tasks: Iterable[Any], _served: Any, **_: float) -> list[Any]:
    """Return tasks in order of arrival; replaces `policy.order`."""
    return sorted(tasks, key=lambda task: task.number)


ORDERS: dict[str, Callable[..., list[Any]]] = {"engine": policy.order, "first come, first served": order_by_arrival}


async def latency(device: DeviceThread, job: Job, after: float) -> float:
    """Return the latency of `job` in seconds; the job is sent after `after` seconds."""
    await asyncio.sleep(after)
    began = time.perf_counter()
    finished = [event async for event in device.events(job) if isinstance(event, Finished)]
    assert len(finished) == 1  # noqa: S101 - the comparison needs the image
    return time.perf_counter() - began


async def send_all(device: DeviceThread, args: argparse.Namespace, alone: float, *, one_caller: bool) -> Latencies:
    """Send all jobs and return their latencies; `alone` is the time of the long job alone, in seconds."""

    def job(number: int, steps: int) -> Job:
        return Job(prompt="a lake", seed=number, steps=steps, caller="one" if one_caller else str(number))

    jobs = [job(0, args.long), *(job(number + 1, args.short) for number in range(SHORT_JOBS))]
    took = await asyncio.gather(*(latency(device, job, alone * 0.05 * place) for place, job in enumerate(jobs)))
    return Latencies(statistics.mean(took), float(np.percentile(took, 95)), float(np.percentile(took[1:], 95)), took[0])


async def measure(args: argparse.Namespace, repository: Repository, *, one_caller: bool) -> None:
    """Run all rounds and print a table."""
    rounds: dict[str, list[Latencies]] = {name: [] for name in ORDERS}
    with DeviceThread(Engine(repository)) as device:
        warm = Job(prompt="a lake", seed=0, steps=args.long)
        await latency(device, warm, 0)
        alone = await latency(device, warm, 0)
        for number in range(args.rounds + 1):
            for name, order in ORDERS.items():
                with patch.object(policy, "order", order):
                    found = await send_all(device, args, alone, one_caller=one_caller)
                rounds[name] += [found] if number else []
    callers = "one caller" if one_caller else "nine callers"
    print(f"\n| {callers} | tintype, s | first come, first served, s | ratio (range) |")
    print("|---|---|---|---|")
    for place, title in enumerate(("mean", "95th percentile", "95th percentile of the short jobs", "the long job")):
        ours, first = ([found[place] for found in rounds[name]] for name in ORDERS)
        spread = ratio_and_range(ours, first)
        print(f"| {title} | {statistics.median(ours):.2f} | {statistics.median(first):.2f} | {spread} |", flush=True)


def main() -> None:
    """Measure with nine callers, then with one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--long", type=int, default=100, help="steps of the long job")
    parser.add_argument("--short", type=int, default=4, help="steps of a short job")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    with Repository([args.model] if args.model else [], threads=args.threads) as repository:
        repository.wait(timeout=600)
        for one_caller in (False, True):
            asyncio.run(measure(args, repository, one_caller=one_caller))
    print(f"\ngoal: ratio of the mean latencies at most {GOAL}")


if __name__ == "__main__":
    main()
