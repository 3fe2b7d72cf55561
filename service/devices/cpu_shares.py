"""Equal shares of the CPU as devices: each has some cores, those of one NUMA node together."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Core: TypeAlias = tuple[int, ...]
"""The logical CPUs of one core: more than one with hyper-threads."""

CPUS, NODES = Path("/sys/devices/system/cpu"), Path("/sys/devices/system/node")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: `200000 100000` is two cores


@dataclass(frozen=True, slots=True)
class Share:
    """The logical CPUs that one share may use, and the number of threads of a call."""

    cpus: tuple[int, ...]
    threads: int


def shares(count: int) -> list[Share]:
    """Divide the cores that this process may use into `count` shares; 0 means one for each NUMA node."""
    nodes = [cores for cores in _nodes() if cores]
    return divide(nodes, count or len(nodes), _quota())


def divide(nodes: Sequence[Sequence[Core]], count: int, quota: int) -> list[Share]:
    """Divide the cores of all nodes into `count` shares of neighbours.

    A share has a thread for each of its cores, and may use all CPUs of their nodes: within a node the system's own
    choice is better, above all on a machine with other work. The threads of all shares together are at most `quota`,
    and at least one for each share.
    """
    cores = [node for node in nodes for _ in node]
    bounds = [len(cores) * number // count for number in range(count + 1)]
    parts = [cores[low:high] or cores[low : low + 1] for low, high in pairwise(bounds)]
    most = max(1, quota // count)
    return [Share(_cpus(part), min(len(part), most)) for part in parts]


def _cpus(nodes: Sequence[Sequence[Core]]) -> tuple[int, ...]:
    return tuple(sorted({cpu for node in nodes for core in node for cpu in core}))


def _nodes() -> list[list[Core]]:
    """Return the cores of each NUMA node that this process may use."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    listed = [parse_list(_read(path)) & allowed for path in sorted(NODES.glob("node*/cpulist"), key=_number)]
    listed.append(allowed.difference(*listed))
    return [_cores(cpus) for cpus in listed]


def _number(path: Path) -> int:
    return int(re.sub(r"\D", "", path.parent.name))


def _cores(cpus: set[int]) -> list[Core]:
    """Group logical CPUs by the core that they belong to."""
    cores: dict[str, list[int]] = {}
    for cpu in sorted(cpus):
        siblings = _read(CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list")
        cores.setdefault(siblings or str(cpu), []).append(cpu)
    return [tuple(core) for core in cores.values()]


def parse_list(text: str) -> set[int]:
    """Return the numbers of a list as Linux writes it: `0-3,8`."""
    found: set[int] = set()
    for part in text.split(",") if text else ():
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def _quota() -> int:
    """Return the container's quota in whole cores, 2**16 without one."""
    quota, _, period = _read(QUOTA).partition(" ")
    return max(1, int(quota) // int(period)) if quota.isdigit() and period.isdigit() and int(period) else 2**16


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
