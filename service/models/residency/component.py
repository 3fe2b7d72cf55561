"""Components: graphs that are loaded when they are called, and may be evicted between two calls."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..runtime.graph import device_of
from ..runtime.stop_flag import CallerFlag

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ..graph_source import GraphSource
    from ..runtime.graph import DeviceGraph, Graph, Port, Values
    from ..runtime.runtime import MakeGraph
    from ..runtime.stop_flag import StopFlag


class Memory(Protocol):
    """The memory that components are in: at most `limit` bytes, 0 for no limit."""

    limit: int

    def use(self, component: Component, model: str) -> AbstractContextManager[Graph]:
        """Keep a component in memory inside the block, for `model`."""


class Component:
    """A `Graph` that can be evicted and loaded again. The lock of its memory guards it.

    `weight` is bytes: of its weights, and `kept` bytes that it takes on a device beyond them.
    `models` are those that have it, and `model` the first; each loads it from its own files. `source` is that of the
    graph in memory.
    """

    def __init__(self, memory: Memory, model: str, source: GraphSource, kept: int = 0) -> None:
        self.model, self.source, self.name, self.weight = model, source, source.component, source.weights_bytes + kept
        self.models: set[str] = set()
        self.graph: Graph | None = None
        self.users = 0
        self.last_use = 0
        self.inputs: tuple[Port, ...] = ()
        self.optional: tuple[Port, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.provider = self.device = ""
        self.caller = CallerFlag()
        self._memory, self._running = memory, Lock()
        self._files: dict[str, tuple[GraphSource, MakeGraph]] = {}  # of each model that has or had it

    def add(self, model: str, source: GraphSource, make: MakeGraph) -> None:
        """Let a model have the component."""
        self.models.add(model)
        self._files[model] = source, make

    def make(self, model: str) -> Graph:
        """Load the graph from the files of `model`, and copy the description of its inputs and outputs."""
        self.source, make = self._files[model]
        graph = make(self.caller)
        self.inputs, self.optional, self.outputs = graph.inputs, graph.optional, graph.outputs
        self.provider, self.device = graph.provider, device_of(graph)
        return graph

    def detach(self) -> Graph | None:
        """Remove the graph from the component and return it; the caller frees it."""
        graph, self.graph = self.graph, None
        return graph

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`; loads the graph first if it is not in memory."""
        with self._loaded() as graph:
            return graph.run(outputs, feeds)

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` as values on the device; loads the graph first if it is not in memory."""
        with self._loaded() as graph:
            return cast("DeviceGraph", graph).run_on_device(outputs, feeds)

    def _loaded(self) -> AbstractContextManager[Graph]:
        graph = self.graph
        if graph and not self._memory.limit:  # without a limit nothing is evicted
            return nullcontext(graph)
        return self._memory.use(self, self.model)

    @contextmanager
    def called_by(self, stop_flag: StopFlag) -> Iterator[None]:
        """Let one caller run the graph inside the block; `stop_flag` stops its calls."""
        with self._running:
            self.caller.flag = stop_flag
            yield


class SharedComponent:
    """A component of several models as one of them sees it: a `Graph` whose calls the model's own flag stops."""

    def __init__(self, memory: Memory, component: Component, model: str, stop_flag: StopFlag) -> None:
        self._memory, self._component, self._model, self._stop_flag = memory, component, model, stop_flag
        self.inputs, self.optional, self.outputs = component.inputs, component.optional, component.outputs
        self.provider, self.device = component.provider, component.device

    @property
    def source(self) -> GraphSource:
        """The source of the graph in memory, which may be another model's."""
        return self._component.source

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs` while no other model runs the graph; loads it first if it is not in memory."""
        with self._memory.use(self._component, self._model) as graph, self._component.called_by(self._stop_flag):
            return graph.run(outputs, feeds)

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` as values on the device while no other model runs the graph."""
        with self._memory.use(self._component, self._model) as graph, self._component.called_by(self._stop_flag):
            return cast("DeviceGraph", graph).run_on_device(outputs, feeds)
