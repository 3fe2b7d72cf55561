"""Starts a gateway in a separate process."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """
import json
import sys
from pathlib import Path
from tintype.gateway.config import GatewayConfig
from tintype.gateway.server import run
config = GatewayConfig(rest="127.0.0.1:0", grpc=sys.argv[2], data=Path(sys.argv[1]), **json.loads(sys.argv[3]))
run(config, ready=lambda url: print(url, flush=True))
print("ended well", flush=True)
"""


@contextlib.contextmanager
def running_process(
    data: Path, grpc: str = "127.0.0.1:1", **settings: Any
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the process of a gateway and its URL; kill the process at the end."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(data), grpc, json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()
