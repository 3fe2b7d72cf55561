"""Compare the simulation with real services behind a real gateway, under the same requests."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .processes import cluster, send
from .profiles import scaled
from .results import quantile
from .simulation import WARM_UP, Cluster, Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .profiles import Profile

SEEDS = 20  # simulations of one trace, which differ in ties and callers
SLOWER = 4  # times a profile's, so that delays by other programs are small in comparison
SHARES = (0.5, 0.9, 0.95)


class Comparison(NamedTuple):
    """Waiting times and latencies in seconds: real ones, and those of all simulations of the same requests."""

    waits: Sequence[float]
    latencies: Sequence[float]
    simulated_waits: Sequence[float]
    simulated_latencies: Sequence[float]
    works: tuple[float, float]
    utilisation: float

    def rows(self) -> list[tuple[str, float, float]]:
        """Return what is compared, with the real and the simulated value."""
        found = [("device, mean", *self.works)]
        for name, real, ours in (
            ("wait", self.waits, self.simulated_waits),
            ("latency", self.latencies, self.simulated_latencies),
        ):
            found += [(f"{name}, p{share * 100:.0f}", quantile(real, share), quantile(ours, share)) for share in SHARES]
            found.append((f"{name}, mean", statistics.mean(real), statistics.mean(ours)))
        return found


def compare(profile: Profile, setup: Setup) -> Comparison:
    """Send `setup.images` requests to real services whose models sleep for the profile's times, and simulate them.

    The gateway's processor seconds are not simulated: other programs share the cores. What it adds to each latency is
    in the real figures only.
    """
    profile = scaled(profile, SLOWER)
    setup = replace(setup, profile=replace(profile, gateway=0.0))
    arrivals = _arrivals(setup)
    first = int(len(arrivals) * WARM_UP)
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster(Path(folder), setup.nodes, "--log-prompts", sleeping=profile) as (_, gateway),
    ):
        asyncio.run(_send_all(gateway.address, [(n, 20) for n in range(8)], "warm up"))  # judges batch widths
        latencies = asyncio.run(_send_all(gateway.address, arrivals, "image"))
        lines = [line for line in gateway.lines() if line["prompt"].startswith("image")]
    queues = {int(line["prompt"].split()[-1]): float(line["queue"]) for line in lines}
    runs = {int(line["prompt"].split()[-1]): float(line["run"]) for line in lines}
    results = [Cluster(replace(setup, seed=seed)).run(arrivals) for seed in range(SEEDS)]
    return Comparison(
        sorted(queues[number] for number in range(first, len(arrivals))),
        sorted(latencies[first:]),
        sorted(wait for result in results for wait in result.waits),
        sorted(latency for result in results for latency in result.latencies),
        (statistics.mean(list(runs.values())[first:]), statistics.mean(result.mean_work for result in results)),
        statistics.mean(result.utilisation for result in results),
    )


def _arrivals(setup: Setup) -> list[tuple[float, int]]:
    """Return times and steps of Poisson requests."""
    draw, now = random.Random(setup.seed), 0.0  # noqa: S311 - a simulation
    arrivals = []
    for _ in range(setup.images):
        now += draw.expovariate(setup.requests_per_second)
        arrivals.append((now, draw.choice(setup.steps)))
    return arrivals


async def _send_all(address: str, arrivals: Sequence[tuple[float, int]], prompt: str) -> list[float]:
    async def later(number: int, after: float, steps: int) -> float:
        await asyncio.sleep(after)
        return await send(address, f"{prompt} {number}", steps)

    return await asyncio.gather(*(later(number, *arrival) for number, arrival in enumerate(arrivals)))
