"""Measure goals that no other file of results holds, and write them to bench/results/goals.json.

    python bench/goals.py [rest] [engine] [mixed] [gateway] [--rounds 5]

rest: seconds of a REST request for one image of 20 steps with guidance (`tintype up`, one thread), divided by the sum
of onnxruntime's calls for the same image in this process, in turns. The other parts run bench/engine_gap.py,
bench/mixed_load.py and bench/gateway.py, and keep the figures that they print.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine_gap import Stopwatch, generate
from machine import describe_machine
from ratios import ratio_and_range
from serving import server
from serving_load.clients import SIZE, connect, http_request

from tintype.service.engine import DeviceThread, Engine
from tintype.service.job import Job
from tintype.service.models import Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RESULTS = Path(__file__).with_name("results") / "goals.json"
STEPS, GUIDANCE = 20, 3.0


def rest(rounds: int) -> dict[str, Any]:
    """Return the ratio of a REST request to its bare calls, by round."""
    job = Job(prompt="a lake", seed=1, steps=STEPS, guidance_scale=GUIDANCE, width=SIZE, height=SIZE, progress=False)
    asked, bare = [], []
    with server(threads=1) as address, Repository([], threads=1, providers=["cpu"]) as repository:
        repository.wait(timeout=600)
        with Stopwatch() as watch, DeviceThread(Engine(repository)) as device:
            for number in range(rounds + 1):
                watch.calls = []
                asyncio.run(generate(device, job))
                calls = sum(call.ended.wall - call.began.wall for call in watch.calls)
                took = asyncio.run(_request(address))
                if number:
                    bare.append(calls)
                    asked.append(took)
    return {"rest": ratio_and_range(asked, bare)}


async def _request(address: str) -> float:
    """Return the seconds of a REST request from its first byte to its last."""
    values = {"prompt": "a lake", "size": f"{SIZE}x{SIZE}", "steps": STEPS, "guidance_scale": GUIDANCE, "seed": 1}
    began = time.perf_counter()
    reader, writer = await connect(address)
    writer.write(http_request(address, values | {"response_format": "b64_json"}))
    answer = await reader.read(-1)
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"expected status 200; got {answer[:300]!r}")
    return time.perf_counter() - began


def engine(rounds: int) -> dict[str, Any]:
    """Return the share of the time outside onnxruntime, and the thread's own CPU time."""
    jobs = ("one image", "no progress", "no guidance", "four images")
    output = _script("engine_gap.py", "--batch", "1", "--rounds", str(rounds), "--jobs", *jobs)
    rows = {
        job: re.search(rf"batch 1  {job} +host +([\d.]+) ms per call +([\d.]+)% outside +([\d.]+)% own", output)
        for job in jobs
    }
    texts = [f"{job} {row[2]} % (own work {row[3]} %)" for job, row in rows.items() if row]
    return {"engine": ", ".join(texts)}


def mixed(rounds: int) -> dict[str, Any]:
    """Return the ratio of the mean latencies of nine callers."""
    output = _script("mixed_load.py", "--rounds", str(rounds))
    found = re.search(r"\| nine callers: mean \|.*\| ([^|]+) \|$", output, re.MULTILINE) or re.search(
        r"\| mean \|.*\| ([^|]+) \|$", output, re.MULTILINE
    )
    return {"mixed load": found[1] if found else ""}


def gateway(rounds: int) -> dict[str, Any]:
    """Return the gateway's requests per second by load."""
    output = _script("gateway.py", "--seconds", str(rounds))
    return {
        "gateway": {
            name.strip(): float(rate) for name, rate in re.findall(r"^(.+?) +([\d.]+) /s$", output, re.MULTILINE)
        }
    }


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {"rest": rest, "engine": engine, "mixed": mixed, "gateway": gateway}


def _script(name: str, *arguments: str) -> str:
    """Return the output of another script."""
    command: Sequence[str] = (sys.executable, str(Path(__file__).with_name(name)), *arguments)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603 - our own


def main() -> None:
    """Measure the parts, and add them to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for part in args.parts:
        found |= PARTS[part](args.rounds)
        print(part, found, flush=True)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found | {"machine": describe_machine()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
