"""What a section gets: provider, models, time and memory."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from .records import Records

GIB = 2**30
NVIDIA = ("cuda", "tensorrt")


@dataclass
class Context:
    """Settings of one section.

    `deadline` is on the clock of `time.perf_counter`. `memory` is the device's free memory in bytes, 0 to look it up.
    `work` is a folder for random models. `quick` asks for tiny sizes, which test the program.
    """

    section: str
    records: Records
    provider: str
    models: tuple[Path, ...]
    work: Path
    deadline: float
    memory: int = 0
    quick: bool = False
    rounds: int = 10
    size: int = 256
    steps: int = 16
    templates: Path | None = None
    architecture: str = ""
    torch: bool = True

    def add(self, subject: str = "", way: str = "", **fields: Any) -> None:
        """Write a result of this section."""
        self.records.add(self.section, subject, way, **fields)

    def left(self) -> float:
        """Return the seconds until the deadline."""
        return self.deadline - time.perf_counter()

    @cached_property
    def free(self) -> int:
        """Free bytes of the device; of the system if the device does not say."""
        return self.memory or (self.provider in NVIDIA and nvidia_bytes("memory.free")) or system_bytes()


def nvidia_smi(fields: str) -> list[str]:
    """Return what nvidia-smi says about the first GPU, one text for each field; none without an NVIDIA GPU."""
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [each.strip() for each in done.stdout.strip().split(",")]


def nvidia_bytes(name: str) -> int:
    """Return a number that nvidia-smi gives in MiB, in bytes; 0 if it gives none."""
    found = nvidia_smi(name)
    return int(found[0]) * 2**20 if found and found[0].isdigit() else 0


def system_bytes() -> int:
    """Return the available memory of the system, 4 GiB if it does not say."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text("ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 4 * GIB
