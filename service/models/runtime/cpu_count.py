"""How many cores a model call may use: those of the machine that this process is really given."""

from __future__ import annotations

import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


def usable_cores() -> int:
    """Count physical cores, within the process's affinity and its container's quota; at least 1.

    Two hyper-threads of one core are slower together at matrix products than one alone.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    physical = {_read(Path(_SIBLINGS.format(cpu))) or str(cpu) for cpu in allowed}
    return max(1, min(len(physical), _quota()))


def _quota() -> int:
    """Return the container's share of the machine in whole cores (cgroup v2, `200000 100000` is two), or a lot."""
    quota, _, period = _read(_QUOTA).partition(" ")
    return int(quota) // int(period) if quota.isdigit() and period.isdigit() and int(period) else 2**16


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
