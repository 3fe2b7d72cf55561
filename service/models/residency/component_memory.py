"""Component memory: which components are in memory, so that their weights never exceed the budget.

A component is a graph with its weights. It is loaded when it is called; `eviction` decides which others are evicted for
it. So a model whose components do not fit into memory together is served as well: they take turns.

Freeing a component takes seconds, and may wait for the capture of a CUDA graph. So a component is detached under the
lock and freed after the lock is released; until then its bytes count as used.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Condition
from typing import TYPE_CHECKING

from ...errors import OutOfMemory
from ..runtime.cuda_graphs import DEVICE_ACCESS
from .eviction import components_to_evict, idle_components

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ..graph_source import GraphSource
    from ..runtime.graph import Graph, Port, Values

log = logging.getLogger(__name__)


class Component:
    """A `Graph` that can be evicted and loaded again; `weight` is bytes. The lock of its memory guards it."""

    def __init__(self, memory: ComponentMemory, model: str, source: GraphSource, make: Callable[[], Graph]) -> None:
        self.model, self.name, self.weight = model, source.component, source.weights_bytes
        self.graph: Graph | None = None
        self.users = 0
        self.last_use = 0
        self.inputs: tuple[Port, ...] = ()
        self.optional: tuple[Port, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.provider = ""
        self._memory, self._make = memory, make

    def make(self) -> Graph:
        """Load the graph, and copy the description of its inputs and outputs."""
        graph = self._make()
        self.inputs, self.optional, self.outputs = graph.inputs, graph.optional, graph.outputs
        self.provider = graph.provider
        return graph

    def detach(self) -> Graph | None:
        """Remove the graph from the component and return it; the caller frees it."""
        graph, self.graph = self.graph, None
        return graph

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`; loads the graph first if it is not in memory."""
        graph = self.graph
        if graph and not self._memory.limit:  # without a limit nothing is evicted
            return graph.run(outputs, feeds)
        with self._memory.use(self) as graph:
            return graph.run(outputs, feeds)


class ModelMemory:
    """The memory for one model's components."""

    def __init__(self, memory: ComponentMemory, model: str) -> None:
        self._memory, self._model = memory, model

    def open(self, source: GraphSource, make: Callable[[], Graph]) -> Component:
        """Return the component of a graph, loaded; `make` loads the graph."""
        return self._memory.component(self._model, source, make)


class ComponentMemory:
    """Keeps at most `limit` bytes of weights (0: no limit). All methods may be called from any thread."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._changed = Condition()
        self._clock = count(1)
        self._components: dict[tuple[str, GraphSource], Component] = {}
        self._held: set[str] = set()  # models, as counted by their slots
        self._freeing = 0  # bytes

    @property
    def used(self) -> int:
        """Bytes of the components that are in memory, being loaded or being freed."""
        with self._changed:
            return self._used()

    def of_model(self, model: str) -> ModelMemory:
        """Return the memory for one model's components."""
        return ModelMemory(self, model)

    def component(self, model: str, source: GraphSource, make: Callable[[], Graph]) -> Component:
        """Return the component of a graph, loaded. Raises the errors of `use`."""
        with self._changed:
            if (model, source) not in self._components:
                self._components[model, source] = Component(self, model, source, make)
            component = self._components[model, source]
        with self.use(component):
            return component

    def protect(self, model: str, *, protected: bool) -> None:
        """Set whether a model's components are protected from eviction for other models."""
        with self._changed:
            (self._held.add if protected else self._held.discard)(model)
            self._changed.notify_all()

    def drop(self, model: str) -> Callable[[], None]:
        """Detach a model's components that are not in use.

        Return the function that frees them; it must be called without locks.
        """
        with self._changed:
            return self._detach([component for component in self._idle() if component.model == model])

    def evict_idle(self, keep: str) -> Callable[[], None] | None:
        """Detach the idle components of models other than `keep`, because the device is out of memory.

        Return the function that frees them, which must be called without locks; None if there are none.
        """
        with self._changed:
            evicted = idle_components(self._idle(), keep, self._held)
            return self._detach(evicted) if evicted else None

    @contextmanager
    def use(self, component: Component) -> Iterator[Graph]:
        """Keep a component in memory inside the block; waits while running components leave no room for it.

        Raises:
            OutOfMemory: it is larger than the budget; or models that tasks hold leave no room for it and it belongs to
                such a model, so that waiting might never end.
            Any error of loading it.
        """
        graph = self._acquire(component)
        try:
            yield graph
        finally:
            with self._changed:
                component.users -= 1
                self._changed.notify_all()

    def _acquire(self, component: Component) -> Graph:
        if 0 < self.limit < component.weight:
            raise OutOfMemory(f"{component.name} has {component.weight} bytes of weights, above {self.limit}")
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(component) or self._is_stuck(component))
            if not self._has_room(component):
                raise OutOfMemory(f"{component.name} does not fit into {self.limit} bytes with the models in use")
            free = self._make_room(component)
            component.users += 1
            component.last_use = next(self._clock)
            graph = component.graph
        free()
        return graph or self._load(component)

    def _load(self, component: Component) -> Graph:
        try:
            component.graph = graph = component.make()
        except BaseException:
            with self._changed:
                component.users -= 1
                self._changed.notify_all()
            raise
        with self._changed:
            self._changed.notify_all()
        return graph

    # The lock is held, except by `_free`.

    def _has_room(self, component: Component) -> bool:
        """Return whether the component is loaded, or can be loaded now.

        It can be loaded if no other thread is loading it and evicting idle components makes enough room.
        """
        if component.graph:
            return True
        return not component.users and self._to_evict(component) is not None

    def _is_stuck(self, component: Component) -> bool:
        """Return whether waiting for room might never end.

        That is so if no running component could make room and the caller itself may hold the models in memory.
        """
        if component.users or self._freeing or component.model not in self._held:
            return False
        return not any(other.users for other in self._components.values())

    def _to_evict(self, component: Component) -> list[Component] | None:
        """Return the components to evict for `component`; None while that would not make enough room."""
        if not self.limit or component.graph:
            return []
        excess = self._used() + component.weight - self.limit
        return components_to_evict(self._idle(), component, excess, self._held)

    def _make_room(self, component: Component) -> Callable[[], None]:
        evicted = self._to_evict(component) or []
        for other in evicted:
            log.info("%s of model %s makes room for %s", other.name, other.model, component.model)
        return self._detach(evicted, component.weight)

    def _detach(self, components: Sequence[Component], replaced: int = 0) -> Callable[[], None]:
        """Detach components, and return the function that frees them.

        Until they are freed their bytes count, except `replaced` bytes: the incoming component already counts those.
        """
        graphs, size = [component.detach() for component in components], sum(c.weight for c in components)
        size -= min(size, replaced)
        self._freeing += size
        self._changed.notify_all()
        return partial(self._free, graphs, size)

    def _free(self, graphs: list[Graph | None], size: int) -> None:
        """Free graphs. The caller holds no lock, since freeing device memory waits for a capture of a CUDA graph."""
        if not graphs:
            return
        with DEVICE_ACCESS.shared():
            graphs.clear()
        with self._changed:
            self._freeing -= size
            self._changed.notify_all()

    def _idle(self) -> list[Component]:
        return [component for component in self._components.values() if component.graph and not component.users]

    def _used(self) -> int:
        counted = (component.weight for component in self._components.values() if component.graph or component.users)
        return sum(counted) + self._freeing
