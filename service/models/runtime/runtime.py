"""The choice of a provider and of threads, and the loading of graphs with them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .openvino import OpenVinoGraph
from .ort import OrtGraph
from .plugins.captured import CapturedGraph
from .plugins.table import installed
from .provider_options import DEFAULTS, GraphRole
from .providers import choose, is_standalone
from .stop_flag import StopFlag
from .tensorrt import TensorRtGraph

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ..graph_source import GraphSource
    from .graph import Graph
    from .provider_options import ProviderOptions

log = logging.getLogger(__name__)

LOGGED_BYTES = 10**8  # a component of this size takes long enough that its loading is logged
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


MakeGraph: TypeAlias = "Callable[[StopFlag], Graph]"
"""Loads a graph, whose calls the flag stops."""


class GraphMemory(Protocol):
    """Memory that holds the graphs of one model, and may evict and reload them."""

    def open(self, source: GraphSource, make: MakeGraph, stop_flag: StopFlag, kept: int = 0) -> Graph:
        """Return the graph of `source`, loaded by `make` now and after each eviction; a flag stops its calls.

        The graph takes `kept` bytes beyond its weights while it is in memory.
        """


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where graphs run: a provider, by its short name, and the threads of one call on a CPU.

    `memory` holds the graphs, if it is set; `stop_flag` stops the calls of all graphs opened with it; `role` is the use
    of the graphs.
    """

    provider: str
    threads: int
    memory: GraphMemory | None = None
    options: ProviderOptions = DEFAULTS
    stop_flag: StopFlag = field(default_factory=StopFlag, compare=False)
    role: GraphRole = GraphRole.TEXT_ENCODER

    @classmethod
    def choose(cls, providers: tuple[str, ...] = (), threads: int = 0, options: ProviderOptions = DEFAULTS) -> Runtime:
        """Return the first provider that works here, with one thread per core if `threads` is 0.

        Raises:
            ProviderUnavailable: none of them works.
        """
        return cls(choose(providers), threads or usable_cores(), options=options)

    def within(self, memory: GraphMemory, stop_flag: StopFlag) -> Self:
        """Return the same runtime with its graphs in `memory`, stopped by `stop_flag`."""
        return replace(self, memory=memory, stop_flag=stop_flag)

    def for_role(self, role: GraphRole) -> Self:
        """Return the same runtime for graphs of another role."""
        return replace(self, role=role)

    def open(self, source: GraphSource) -> Graph:
        """Load a graph.

        Raises:
            ModelFileError: a file is missing, damaged or refused.
            Exception: any error of the provider.
        """
        make = partial(self._load, source)
        if not self.memory:
            return make(self.stop_flag)
        return self.memory.open(source, make, self.stop_flag, self.options.counted(self.provider, self.role))

    def _load(self, source: GraphSource, stop_flag: StopFlag) -> Graph:
        if source.weights_bytes >= LOGGED_BYTES:
            log.info("%s: loading %.1f GB from %s", source.component, source.weights_bytes / 1e9, source.label)
        if is_standalone(self.provider):
            return OpenVinoGraph(source, self.threads)
        if self.provider == "tensorrt":
            return TensorRtGraph(source, self.threads, options=self.options, role=self.role, stop_flag=stop_flag)
        if self.provider in installed() and self.options.captures(self.provider, self.role):
            return CapturedGraph(source, self.provider, self.threads, options=self.options, stop_flag=stop_flag)
        return OrtGraph(source, self.provider, self.threads, options=self.options, role=self.role, stop_flag=stop_flag)


def usable_cores() -> int:
    """Count the physical cores that this process may use, at least 1.

    The process's CPU affinity and its container's quota limit them. Hyper-threads of one core count once: two together
    compute matrix products more slowly than one alone.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    physical = {_read(Path(_SIBLINGS.format(cpu))) or str(cpu) for cpu in allowed}
    return max(1, min(len(physical), _quota()))


def _quota() -> int:
    """Return the container's CPU quota in whole cores, 2**16 without one (cgroup v2: `200000 100000` is two cores)."""
    quota, _, period = _read(_QUOTA).partition(" ")
    return int(quota) // int(period) if quota.isdigit() and period.isdigit() and int(period) else 2**16


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
