"""`tintype up` in a separate process, for end-to-end tests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Up:
    """A running `tintype up` and its output so far."""

    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process = process
        self.data = data
        self.output = ""

    def read_until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended after {self.output!r}"
            self.output += line

    def address(self, name: str) -> str:
        match = re.search(rf"^  {name} +(?:http://)?(\S+)$", self.output, re.MULTILINE)
        assert match, self.output
        return match[1]

    @property
    def addresses(self) -> tuple[str, str]:
        return self.address("REST"), self.address("gRPC")

    @property
    def url(self) -> str:
        return f"http://{self.address('REST')}"

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def up(folder: Path, *arguments: str) -> Iterator[Up]:
    """Start `tintype up` on free ports in `folder`, and end it with its children."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    where = ("--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data", str(folder / "data"))
    command = [sys.executable, "-P", "-m", "tintype.cli", "up", *where, *arguments]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
        )
    with process:
        try:
            yield Up(process, folder / "data")
        finally:
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGINT)
