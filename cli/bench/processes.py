"""Processes of the bench: what they take, and how long imports take in a new one."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from ..errors import UserError

# The imports of a service that serves on a CPU, in the order of its start.
IMPORTS = """
import time
began = time.perf_counter()
import tintype.service.launch, tintype.service.server, onnxruntime
print(time.perf_counter() - began)
"""


async def import_seconds() -> float:
    """Return the seconds that a new process takes to import the service and onnxruntime. Raises UserError."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", IMPORTS, stdout=PIPE, stderr=PIPE)
    try:
        out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise UserError(f"the service can't be imported: {errors.decode(errors='replace').strip().splitlines()[-1:]}")
    return float(out)


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds that a process has used, by all of its threads; None where /proc does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[11]) + int(fields[12])  # utime and stime, fields 14 and 15 of proc(5)
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory(pid: int) -> int:
    """Return the most bytes that a process has had in memory; 0 where /proc does not say."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", errors="replace")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "")
    return int(line.split()[1]) * 1024 if line else 0
