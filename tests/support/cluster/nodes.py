"""Ray nodes on this machine as separate processes, which can be killed as a machine that loses its power."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CORES = 2  # of each node, as Ray counts them
PATIENCE = 60.0  # seconds
HOST = "127.0.0.1"
# Requests go to the replicas of all nodes, whichever proxy receives them, as `tintype cluster` sets it.
BALANCED = {"RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until a condition holds. Fails with `what` otherwise."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what} within {seconds:g} s"
        time.sleep(0.2)


def descendants(pid: int) -> list[int]:
    """Return the processes below one, at any depth."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            stat = (entry / "stat").read_text()
            children.setdefault(int(stat[stat.rindex(")") + 2 :].split()[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


class Node:
    """One Ray node: `ray start --block`, and all that it starts."""

    def __init__(self, name: str, folder: Path, arguments: list[str], environ: Mapping[str, str]) -> None:
        program = str(Path(sys.executable).with_name("ray"))
        common = [f"--num-cpus={CORES}", "--num-gpus=0", "--object-store-memory=100000000", "--disable-usage-stats"]
        with (folder / f"{name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "start", "--block", f"--node-ip-address={HOST}", *common, *arguments],
                env=os.environ | BALANCED | dict(environ),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill all processes of the node at once."""
        for pid in [*descendants(self._process.pid), self._process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


class Nodes:
    """A head and a second node. `ports` are those of gRPC, the head's first."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tt-ray-", dir="/tmp"))  # socket paths must be short
        gcs = free_port()
        self.address = f"{HOST}:{gcs}"
        self.ports = free_port(), free_port()
        self.probe_ports = free_port(), free_port()
        head = ["--head", f"--port={gcs}", "--include-dashboard=false", f"--temp-dir={self.folder}/r"]
        self.head = Node("head", self.folder, head, {})
        wait_until(lambda: _listens(gcs), "the head listens")
        self.second = self.start_second()

    def start_second(self) -> Node:
        """Start the second node; its proxy has its own ports, because both nodes have the same address."""
        ports = {
            "RAY_SERVE_WORKER_PROXY_GRPC_PORT": str(self.ports[1]),
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(self.probe_ports[1]),
        }
        self.second = Node("second", self.folder, [f"--address={self.address}"], ports)
        return self.second

    @property
    def addresses(self) -> tuple[str, str]:
        """The gRPC addresses of both proxies."""
        first, second = self.ports
        return f"{HOST}:{first}", f"{HOST}:{second}"

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tintype cluster` on these nodes."""
        ports = ["--ingress-port", str(self.ports[0]), "--probe-port", str(self.probe_ports[0])]
        command = [sys.executable, "-P", "-m", "tintype.cli", "cluster", *arguments, "--address", self.address, *ports]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
        return subprocess.run(command, env=environ | BALANCED, capture_output=True, text=True, timeout=180, check=False)

    def deploy(self, *settings: str) -> str:
        """Deploy or update the application, and return what the command printed."""
        done = self.command("up", "--anonymous", "--threads", "1", *settings)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def replica_logs(self) -> dict[str, str]:
        """Return the log of each process that has served as a replica, by its file."""
        files = (self.folder / "r/session_latest/logs").glob("worker-*.err")
        texts = {file.name: file.read_text(errors="replace") for file in files}
        return {name: text for name, text in texts.items() if "replica ready" in text}

    def close(self) -> None:
        """Kill both nodes and remove their files."""
        self.second.kill()
        self.head.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
