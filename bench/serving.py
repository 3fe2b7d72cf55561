"""Measure a server under open-loop load, cancellation, and the gateway and LiteLLM's proxy.

    python bench/serving.py [load] [cancel] [gateways] [--seconds 15] [--rounds 3] [--threads 2]

load: `tintype up` with the built-in model, 256x256, 4 steps, no guidance. Its capacity is what eight callers get, each
of which sends its next request after an answer. Then requests arrive as a Poisson process at 0.3, 0.6, 0.9 and 1.2
times that, over REST and over gRPC, whatever the server does; latency counts from when a request was due.
cancel: seconds from a client's disconnect until its request has left the device.
gateways: tintype's gateway and LiteLLM's proxy, one worker each, in front of services that answer at once; LiteLLM is
installed into `--environments`. The client shares the machine's cores with the servers.

The results go to bench/results/serving.json, of which bench/plots.py makes tables and plots.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from libraries.environments import ROOT, Environments
from machine import describe_machine
from serving_load.cancelling import measure_cancelling
from serving_load.clients import Grpc, Rest, closed_loop, open_loop, quantiles
from serving_load.gateways import measure_gateways

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

RESULTS = Path(__file__).with_name("results") / "serving.json"
FRACTIONS = (0.3, 0.6, 0.9, 1.2)
CALLERS = 8
QUEUE = 16
GRPC, METRICS = "127.0.0.1:18090", "127.0.0.1:18091"
PARTS = ("load", "cancel", "gateways")


@contextmanager
def server(threads: int) -> Iterator[str]:
    """Run `tintype up` with the built-in model; yield the gateway's address."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "tintype.cli", "up", "--rest", "127.0.0.1:0", "--grpc", GRPC]
        command += ["--metrics", METRICS, "--queue", str(QUEUE), "--threads", str(threads), "--data", folder]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
        environ["PYTHONPATH"] = str(ROOT / "build" / "namespace")
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environ)  # noqa: S603 - our own
        try:
            yield _address(process, log)
        finally:
            process.terminate()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the gateway's address once all is ready."""
    for _ in range(1200):
        text = log.read_text("utf-8")
        if found := re.search(r"ready after .*?REST +http://(127\.0\.0\.1:\d+)", text, re.DOTALL):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"tintype up did not start: {log.read_text('utf-8')[-500:]}")


async def measure_load(address: str, seconds: float) -> dict[str, Any]:
    """Return the capacity of each interface, and latencies at each fraction of it."""
    async with grpc.aio.insecure_channel(GRPC) as channel:
        senders: dict[str, Any] = {"REST": Rest(address).send, "gRPC": Grpc(channel).send}
        capacity, rows = {}, []
        for kind, send in senders.items():
            await closed_loop(send, CALLERS, 3)
            capacity[kind] = await closed_loop(send, CALLERS, seconds)
            print(f"{kind}: {capacity[kind]:.2f} images/s with {CALLERS} callers", flush=True)
        for fraction in FRACTIONS:
            for kind, send in senders.items():
                rows.append(await one_load(kind, send, fraction, capacity[kind], seconds))
                print(rows[-1], flush=True)
    return {"capacity": capacity, "load": rows}


async def one_load(
    kind: str, send: Callable[[int], Awaitable[bool]], fraction: float, capacity: float, seconds: float
) -> dict[str, Any]:
    """Return throughput, refusals and latencies in seconds at one load."""
    began = time.perf_counter()
    answers = await open_loop(send, fraction * capacity, seconds, seed=int(100 * fraction))
    took = time.perf_counter() - began
    done = [answer.seconds for answer in answers if not answer.refused]
    refused = len(answers) - len(done)
    figures = {"requests": len(answers), "refused": refused, "throughput": len(done) / took}
    return {"kind": kind, "fraction": fraction, **figures, **quantiles(done)}


def main() -> None:
    """Measure the parts, and write each into the file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the gateways; cancellations are ten times it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--environments", type=Path, default=Path("build/peers"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    found: dict[str, Any] = {"machine": describe_machine(), "threads": args.threads, "seconds": args.seconds}
    if {"load", "cancel"} & set(args.parts):
        with server(args.threads) as address:
            if "load" in args.parts:
                found |= asyncio.run(measure_load(address, args.seconds))
            if "cancel" in args.parts:
                found["cancel"] = asyncio.run(measure_cancelling(Rest(address), METRICS, 10 * args.rounds))
                print(found["cancel"], flush=True)
    if "gateways" in args.parts:
        environments = Environments(args.environments.resolve())
        litellm = str(Path(environments.python("litellm")).with_name("litellm"))
        with tempfile.TemporaryDirectory() as folder:
            found["gateways"] = measure_gateways(litellm, Path(folder), args.seconds / 3, args.rounds)
        found["versions"] = environments.versions("litellm")
        print(found["gateways"], flush=True)
    args.results.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(args.results.read_text("utf-8")) if args.results.exists() else {}
    args.results.write_text(json.dumps(kept | found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
