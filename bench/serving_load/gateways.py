"""tintype's gateway and LiteLLM's proxy, each in front of a service that answers at once."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from libraries.environments import ROOT

from .clients import connect, http_request, quantiles
from .upstreams import SIZES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PORTS = {"grpc": 18080, "openai": 18081, "tintype": 18082, "LiteLLM": 18083}
CONNECTIONS = 8
TICKS = os.sysconf("SC_CLK_TCK")
CONFIG = """
model_list:
  - model_name: instant
    litellm_params: {model: openai/instant, api_base: "http://127.0.0.1:PORT/v1", api_key: none}
    model_info: {mode: image_generation}
litellm_settings: {telemetry: false, drop_params: true}
""".replace("PORT", str(PORTS["openai"]))


def measure_gateways(litellm: str, folder: Path, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Measure both gateways and LiteLLM's upstream alone, in turns; `litellm` is the program."""
    config = folder / "litellm.yaml"
    config.write_text(CONFIG, "utf-8")
    ours = [sys.executable, "-m", "tintype.cli", "gateway", "--rest", f"127.0.0.1:{PORTS['tintype']}"]
    ours += ["--grpc", f"127.0.0.1:{PORTS['grpc']}", "--data", str(folder / "data"), "--log-level", "warning"]
    theirs = [litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(PORTS["LiteLLM"])]
    with ExitStack() as stack:
        for kind in ("grpc", "openai"):
            command = [sys.executable, "-m", "serving_load.upstreams", kind, str(PORTS[kind])]
            stack.enter_context(program(command, PORTS[kind]))
        running = {
            "tintype": stack.enter_context(program(ours, PORTS["tintype"])),
            "LiteLLM": stack.enter_context(program(theirs, PORTS["LiteLLM"])),
        }
        return asyncio.run(_measure(running, seconds, rounds))


@contextmanager
def program(command: Sequence[str], port: int) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """Start a server; yield it, and the seconds until it listens."""
    paths = os.pathsep.join((str(ROOT / "bench"), str(ROOT / "build" / "namespace")))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    environ |= {"PYTHONPATH": paths, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    environ["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"  # neither gateway requires keys here
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        asyncio.run(_wait_until_up(process, port))
        yield process, time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


async def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(1200):
        try:
            (await connect(f"127.0.0.1:{port}"))[1].close()
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"{process.args!r} ended with exit code {process.returncode}") from None
            await asyncio.sleep(0.1)
        else:
            return
    raise RuntimeError(f"nothing listens on port {port}")


async def _measure(running: dict[str, tuple[Any, float]], seconds: float, rounds: int) -> list[dict[str, Any]]:
    results = []
    for size in SIZES:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ("upstream", *running)}
        for number in range(rounds + 1):
            for name, rows in found.items():
                port = PORTS["openai" if name == "upstream" else name]
                process = running[name][0] if name in running else None
                figures = await _one(f"127.0.0.1:{port}", size, seconds if number else 1.0, process)
                if number:
                    rows.append(figures)
        for name, rows in found.items():
            medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
            start = {"start": running[name][1]} if name in running else {}
            results.append({"gateway": name, "bytes": size, **medians, **start})
    return results


async def _one(address: str, size: int, seconds: float, process: Any) -> dict[str, float]:
    """Return the rate of several connections, the latency of one, and CPU time and memory of the process."""
    before = _cpu(process)
    done = await asyncio.gather(*(_repeat(address, size, seconds) for _ in range(CONNECTIONS)))
    requests = sum(len(each) for each in done)
    cpu = (_cpu(process) - before) / requests if process else 0.0
    alone = await _repeat(address, size, seconds / 2)
    return {"rate": requests / seconds, "cpu": cpu, "memory": _memory(process), **quantiles(alone)}


async def _repeat(address: str, size: int, seconds: float) -> list[float]:
    """Repeat a request on one connection; return the seconds of each."""
    values = {"model": "instant", "prompt": str(size), "n": 1, "response_format": "b64_json"}
    request = http_request(address, values, close=False)
    reader, writer = await connect(address)
    until, found = time.perf_counter() + seconds, []
    while (began := time.perf_counter()) < until:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(left)
        if not head.startswith(b"http/1.1 200") or len(body) < size:
            raise RuntimeError(f"expected status 200 and an image; got {head[:100]!r} {body[:200]!r}")
        found.append(time.perf_counter() - began)
    writer.close()
    return found


def _cpu(process: Any) -> float:
    """Return the CPU seconds that a process has used."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _memory(process: Any) -> float:
    """Return the resident memory of a process in MB."""
    if process is None:
        return 0.0
    pages = int(Path(f"/proc/{process.pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6
