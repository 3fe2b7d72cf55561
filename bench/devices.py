"""Compare several devices behind one address with one service: images a second, and the time that the front adds.

    python bench/devices.py [--rounds 5] [--requests 12] [--workers 4] [--steps 10]

Four services run at the same time, as child processes, with the built-in model on the CPU; they are measured in turns.

throughput   `--devices 2` on two shares of the CPU against one service on all cores: the seconds for all requests
overhead     `--devices 1` with one thread against one service with one thread: the time of a request on its own

Ratios compare figures of one round. CPU time is that of all processes of a service (Linux only): it says what the front
costs also while the machine has other work. Goals: throughput at least 1, overhead at most 1.05.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
from ratios import ratio_and_range

from tintype.service import ServiceConfig, run
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS: dict[str, dict[str, Any]] = {
    "one service": {},
    "two devices": {"devices": "2"},
    "one thread": {"threads": 1},
    "one device": {"threads": 1, "devices": "1"},
}
TOGETHER = ("one service", "two devices")  # several requests at the same time


class Running(NamedTuple):
    """A running service: a stub, and its process."""

    stub: Any
    pid: int

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process and its children so far."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii").split()
        stats = [
            Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split() for pid in (self.pid, *children)
        ]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


@contextmanager
def service(name: str) -> Iterator[Running]:
    """Run a service in a child process."""
    command = [sys.executable, __file__, "--child", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            with grpc.insecure_channel(process.stdout.readline().strip()) as channel:
                yield Running(pb_grpc.ImageServiceStub(channel), process.pid)
        finally:
            process.terminate()


def generate(stub: Any, steps: int, seed: int) -> None:
    """Make one image of 256x256 pixels."""
    stub.GenerateImages(pb.GenerateImagesRequest(prompt="a red house", steps=steps, seed=seed))


def seconds_for_all(stub: Any, arguments: argparse.Namespace) -> float:
    """Return the seconds for all requests, of which `workers` run at the same time."""
    began = time.perf_counter()
    with ThreadPoolExecutor(arguments.workers) as pool:
        list(pool.map(partial(generate, stub, arguments.steps), range(arguments.requests)))
    return time.perf_counter() - began


def seconds_of_one(stub: Any, arguments: argparse.Namespace) -> float:
    """Return the median time of a request, one after the other."""
    times = []
    for seed in range(arguments.requests):
        began = time.perf_counter()
        generate(stub, arguments.steps, seed)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--child", choices=SETTINGS)
    for name, default in (("rounds", 5), ("requests", 12), ("workers", 4), ("steps", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    if arguments.child:
        config = ServiceConfig(grpc="127.0.0.1:0", providers=("cpu",), **SETTINGS[arguments.child])
        run(config, on_ready=partial(print, flush=True))
        return
    times: dict[str, list[float]] = {name: [] for name in SETTINGS}
    cpu: dict[str, list[float]] = {name: [] for name in SETTINGS}
    with ExitStack() as stack:
        services = {name: stack.enter_context(service(name)) for name in SETTINGS}
        for each in services.values():
            seconds_for_all(each.stub, arguments)  # the batch width is tuned
        for _ in range(arguments.rounds):
            for name, each in services.items():
                began = each.cpu_seconds()
                measure = seconds_for_all if name in TOGETHER else seconds_of_one
                times[name].append(measure(each.stub, arguments))
                cpu[name].append(each.cpu_seconds() - began)
    for name in SETTINGS:
        each_request = statistics.median(cpu[name]) / arguments.requests
        print(f"{name}: {statistics.median(times[name]):.3f} s, {each_request:.3f} s of CPU time a request")
    print(f"throughput: {ratio_and_range(times[TOGETHER[0]], times[TOGETHER[1]])}")
    print(f"CPU time of two devices: {ratio_and_range(cpu[TOGETHER[1]], cpu[TOGETHER[0]])}")
    print(f"overhead: {ratio_and_range(times['one device'], times['one thread'], 3)}")
    print(f"CPU time of one device: {ratio_and_range(cpu['one device'], cpu['one thread'], 3)}")


if __name__ == "__main__":
    main()
