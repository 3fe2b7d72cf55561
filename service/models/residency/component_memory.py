"""Component memory: which components are in memory, so that their weights never exceed the budget.

A component is a graph with its weights. It is loaded when it is called; `eviction` decides which others are evicted for
it. So a model whose components do not fit into memory together is served as well: they take turns. Text encoders of
equal content are one component of several models (`shared_encoders`).

Freeing a component takes seconds, and may wait for the capture of a CUDA graph. So a component is detached under the
lock and freed after the lock is released; until then its bytes count as used.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Condition
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...errors import OutOfMemory
from ..runtime.cuda_graphs import DEVICE_ACCESS
from .component import Component, SharedComponent
from .eviction import components_to_evict, idle_components

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from ..graph_source import GraphSource, SharedFiles
    from ..runtime.graph import Graph
    from ..runtime.runtime import MakeGraph
    from ..runtime.stop_flag import StopFlag

log = logging.getLogger(__name__)

NOTHING_SHARED: SharedFiles = MappingProxyType({})


class ModelMemory:
    """The memory for one model's components. `shared` are the contents of files that other models have as well."""

    def __init__(self, memory: ComponentMemory, model: str, shared: SharedFiles) -> None:
        self._memory, self._model, self._shared = memory, model, shared

    def open(self, source: GraphSource, make: MakeGraph, stop_flag: StopFlag, kept: int = 0) -> Graph:
        """Return the component of a graph, loaded; `make` loads the graph, whose calls a flag stops.

        It takes `kept` bytes beyond its weights.
        """
        content = self._shared.get(source.files)
        if content is None:
            return self._memory.component(self._model, source, lambda _: make(stop_flag), kept=kept)
        component = self._memory.component(self._model, source, make, content, kept)
        return SharedComponent(self._memory, component, self._model, stop_flag)


class ComponentMemory:
    """Keeps at most `limit` bytes of components (0: no limit). All methods may be called from any thread."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._changed = Condition()
        self._clock = count(1)
        self._components: dict[Hashable, Component] = {}
        self._held: set[str] = set()  # models, as counted by their slots
        self._freeing = 0  # bytes

    @property
    def used(self) -> int:
        """Bytes of the components that are in memory, being loaded or being freed."""
        with self._changed:
            return self._used()

    def of_model(self, model: str, shared: SharedFiles = NOTHING_SHARED) -> ModelMemory:
        """Return the memory for one model's components, which are opened anew."""
        with self._changed:
            for component in self._shared_by(model):
                component.models.discard(model)
        return ModelMemory(self, model, shared)

    def component(
        self, model: str, source: GraphSource, make: MakeGraph, content: str = "", kept: int = 0
    ) -> Component:
        """Return the component of a graph, loaded. Models share components of equal `content`, unless it is empty.

        Raises the errors of `use`.
        """
        key = (content, source.choices) if content else (model, source)
        with self._changed:
            component = self._components.setdefault(key, Component(self, model, source, kept))
            component.add(model, source, make)
        with self.use(component, model):
            return component

    def protect(self, model: str, *, protected: bool) -> None:
        """Set whether a model's components are protected from eviction for other models."""
        with self._changed:
            (self._held.add if protected else self._held.discard)(model)
            self._changed.notify_all()

    def drop(self, model: str) -> Callable[[], None]:
        """Detach a model's components that are not in use, and that no other model has.

        Return the function that frees them; it must be called without locks.
        """
        with self._changed:
            for component in self._shared_by(model):
                component.models.discard(model)
            return self._detach([component for component in self._idle() if component.models <= {model}])

    def forget(self, model: str) -> None:
        """Forget the components of a model that is not served any more; those in use stay."""
        with self._changed:
            unused = [key for key, each in self._components.items() if each.models <= {model} and not each.users]
            for key in unused:
                del self._components[key]

    def evict_idle(self, keep: str) -> Callable[[], None] | None:
        """Detach the idle components of models other than `keep`, because the device is out of memory.

        Return the function that frees them, which must be called without locks; None if there are none.
        """
        with self._changed:
            evicted = idle_components(self._idle(), keep, self._held)
            return self._detach(evicted) if evicted else None

    @contextmanager
    def use(self, component: Component, model: str) -> Iterator[Graph]:
        """Keep a component in memory inside the block, for `model`; waits while running ones leave no room for it.

        Raises:
            OutOfMemory: it is larger than the budget; or models that tasks hold leave no room for it and it belongs to
                such a model, so that waiting might never end.
            Any error of loading it.
        """
        graph = self._acquire(component, model)
        try:
            yield graph
        finally:
            with self._changed:
                component.users -= 1
                self._changed.notify_all()

    def _acquire(self, component: Component, model: str) -> Graph:
        if 0 < self.limit < component.weight:
            raise OutOfMemory(f"{component.name} takes {component.weight} bytes, above {self.limit}")
        with self._changed:
            self._changed.wait_for(lambda: self._has_room(component, model) or self._is_stuck(component, model))
            if not self._has_room(component, model):
                raise OutOfMemory(f"{component.name} does not fit into {self.limit} bytes with the models in use")
            free = self._make_room(component, model)
            component.users += 1
            component.last_use = next(self._clock)
            graph = component.graph
        free()
        return graph or self._load(component, model)

    def _load(self, component: Component, model: str) -> Graph:
        try:
            component.graph = graph = component.make(model)
        except BaseException:
            with self._changed:
                component.users -= 1
                self._changed.notify_all()
            raise
        with self._changed:
            self._changed.notify_all()
        return graph

    # The lock is held, except by `_free`.

    def _has_room(self, component: Component, model: str) -> bool:
        """Return whether the component is loaded, or can be loaded now.

        It can be loaded if no other thread is loading it and evicting idle components makes enough room.
        """
        if component.graph:
            return True
        return not component.users and self._to_evict(component, model) is not None

    def _is_stuck(self, component: Component, model: str) -> bool:
        """Return whether waiting for room might never end.

        That is so if no running component could make room and the caller itself may hold the models in memory.
        """
        if component.users or self._freeing or model not in self._held:
            return False
        return not any(other.users for other in self._components.values())

    def _to_evict(self, component: Component, model: str) -> list[Component] | None:
        """Return the components to evict for `component`; None while that would not make enough room."""
        if not self.limit or component.graph:
            return []
        excess = self._used() + component.weight - self.limit
        return components_to_evict(self._idle(), model, excess, self._held)

    def _make_room(self, component: Component, model: str) -> Callable[[], None]:
        evicted = self._to_evict(component, model) or []
        for other in evicted:
            log.info("%s of model %s makes room for %s", other.name, other.model, model)
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

    def _shared_by(self, model: str) -> list[Component]:
        return [component for component in self._components.values() if component.models > {model}]

    def _idle(self) -> list[Component]:
        return [component for component in self._components.values() if component.graph and not component.users]

    def _used(self) -> int:
        counted = (component.weight for component in self._components.values() if component.graph or component.users)
        return sum(counted) + self._freeing
