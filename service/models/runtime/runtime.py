"""Where graphs run, and how they get there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from . import external_data
from .cpu_count import usable_cores
from .openvino import OpenVinoGraph
from .ort import OrtGraph
from .provider_options import PLAIN, Use
from .providers import choose, standalone
from .stop_flag import StopFlag
from .tensorrt import TensorRtGraph

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from ..residency.component_memory import ModelMemory
    from .graph import Graph
    from .provider_options import ProviderOptions


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how graphs run: the provider, by its short name, and the threads of one call on a CPU.

    `room` bounds the memory of a model's graphs; `options` are the provider's; `role` is what the graphs are for; and
    `stop_flag` stops the calls of all graphs that were opened with it.
    """

    provider: str
    threads: int
    room: ModelMemory | None = None
    options: ProviderOptions = PLAIN
    stop_flag: StopFlag = field(default_factory=StopFlag, compare=False)
    use: Use = Use.OTHER

    @classmethod
    def choose(cls, providers: tuple[str, ...] = (), threads: int = 0, options: ProviderOptions = PLAIN) -> Runtime:
        """Take the first provider that works here, and a thread for each core where `threads` is 0.

        Raises:
            ProviderUnavailable: none of them works.
        """
        return cls(choose(providers), threads or usable_cores(), options=options)

    def within(self, room: ModelMemory, stop_flag: StopFlag) -> Self:
        """Return the same with its graphs in `room`, stopped by `stop_flag`."""
        return replace(self, room=room, stop_flag=stop_flag)

    def used_for(self, use: Use) -> Self:
        """Return the same for graphs of another use."""
        return replace(self, use=use)

    @property
    def captures(self) -> bool:
        """Whether graphs may capture their calls."""
        return self.options.captures(self.provider, self.use)

    def open(self, path: Path) -> Graph:
        """Load a graph.

        With a room it may be evicted, and is loaded again when it is needed.

        Raises:
            Fault: its weights are outside of its folder.
            Whatever the provider raises.
        """
        return self.room.open(path, lambda: self._make(path)) if self.room else self._make(path)

    def _make(self, path: Path) -> Graph:
        external_data.check(path)
        if standalone(self.provider):
            return OpenVinoGraph(path, self)
        return TensorRtGraph(path, self) if self.provider == "tensorrt" else OrtGraph(path, self)
