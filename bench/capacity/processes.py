"""Real services and a gateway in processes of their own, and requests to them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .profiles import Profile, write_profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TINTYPE = ("-m", "tintype.cli")
TICKS = os.sysconf("SC_CLK_TCK")


class Server(NamedTuple):
    """A running process, the address that it serves, and its log."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def lines(self) -> list[dict[str, str]]:
        """Return the lines of its log, written as JSON, that are about requests."""
        found = [json.loads(line) for line in self.log.read_text("utf-8").splitlines() if line.startswith("{")]
        return [line for line in found if line.get("path") == "/v1/images/generations"]


@contextmanager
def server(folder: Path, name: str, arguments: Sequence[str], program: Sequence[str]) -> Iterator[Server]:
    """Start `program` with `arguments`; yield it once it serves."""
    log = folder / f"{name}.log"
    command = [sys.executable, *program, *arguments, "--log-format", "json"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TINTYPE_")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environ, cwd=folder)  # noqa: S603
    try:
        yield Server(process, _address(process, log), log)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def cluster(
    folder: Path, nodes: int, *gateway: str, sleeping: Profile | None = None
) -> Iterator[tuple[list[Server], Server]]:
    """Start services of one thread each with the built-in model, and a gateway; yield them.

    With a profile, the model sleeps for its seconds instead of computing.
    """
    program: tuple[str, ...] = TINTYPE
    if sleeping:
        write_profile(sleeping, folder / "profile.json")
        program = (str(Path(__file__).with_name("sleeping.py")), str(folder / "profile.json"))
    with ExitStack() as stack:
        common = ("--data", str(folder / "data"))
        serve = ("serve", "--grpc", "127.0.0.1:0", "--threads", "1", *common)
        services = [stack.enter_context(server(folder, f"service-{n}", serve, program)) for n in range(nodes)]
        targets = ",".join(service.address for service in services)
        target = targets if nodes == 1 else f"ipv4:{targets}"
        arguments = ("gateway", "--rest", "127.0.0.1:0", "--grpc", target, *common, *gateway)
        yield services, stack.enter_context(server(folder, "gateway", arguments, TINTYPE))


async def send(address: str, prompt: str, steps: int, size: int = 256) -> float:
    """Request an image, and return the seconds to its last byte. Raises RuntimeError unless the status is 200."""
    body = json.dumps({"prompt": prompt, "size": f"{size}x{size}", "steps": steps, "response_format": "b64_json"})
    began = time.perf_counter()
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
    writer.write(
        f"POST /v1/images/generations HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    answer = await reader.read(-1)
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the gateway answered {answer[:300]!r}")
    return time.perf_counter() - began


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the address in a server's log once it serves. Raises RuntimeError."""
    for _ in range(600):
        text = log.read_text("utf-8")
        if found := re.search(r"serving .*?(127\.0\.0\.1:\d+)", text):
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"a server did not start: {log.read_text('utf-8')[-500:]}")
