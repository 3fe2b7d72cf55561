"""ComponentMemory: which components of which models are in it, so that their weights never take more than the budget.

A component is a graph with its weights. It comes when it is called and goes when another one needs its place: whatever
was used longest ago first, but never one that is running, nor one of another model that requests hold. So models whose
components don't all fit at the same time are served too: their components take turns.

To free a component takes seconds, and may wait for the capture of a graph. So it is taken out under the lock and freed
after it; until then its bytes count as used.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial
from itertools import count
from threading import Condition
from typing import TYPE_CHECKING

from ...errors import OutOfMemory
from ..files import weight
from ..runtime.cuda_graphs import DEVICE_ACCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..runtime.graph import Graph, Port, Values

log = logging.getLogger(__name__)


class Component:
    """A graph that comes and goes, and otherwise a `Graph`; `weight` in bytes. Its memory's lock guards it."""

    def __init__(
        self, memory: ComponentMemory, model: str, path: Path, widening: int, make: Callable[[], Graph]
    ) -> None:
        self.model, self.name, self.weight = model, path.parent.name, weight(path.parent) * widening
        self.graph: Graph | None = None
        self.users = 0
        self.last_use = 0
        self.inputs: tuple[Port, ...] = ()
        self.optional: tuple[Port, ...] = ()
        self.outputs: tuple[str, ...] = ()
        self.provider = ""
        self._memory, self._make = memory, make

    def make(self) -> Graph:
        """Bring the graph in."""
        graph = self._make()
        self.inputs, self.optional, self.outputs = graph.inputs, graph.optional, graph.outputs
        self.provider = graph.provider
        return graph

    def take(self) -> Graph | None:
        """Take the graph out, and return it for the caller to free."""
        graph, self.graph = self.graph, None
        return graph

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`, after bringing the graph in if it is not there."""
        there = self.graph
        if there and not self._memory.limit:  # nobody takes it away
            return there.run(outputs, feeds)
        with self._memory.use(self) as graph:
            return graph.run(outputs, feeds)


class ModelMemory:
    """The part of the memory that one model's components are in; they are `widening` times as large as on disk."""

    def __init__(self, memory: ComponentMemory, model: str, widening: int) -> None:
        self._memory, self._model, self._widening = memory, model, widening

    def open(self, path: Path, make: Callable[[], Graph]) -> Component:
        """Return the component whose graph is at `path`, and bring it in; `make` does it."""
        return self._memory.component(self._model, path, self._widening, make)


class ComponentMemory:
    """Keeps at most `limit` bytes of weights (0: no limit). All methods may be called from any thread."""

    def __init__(self, limit: int = 0) -> None:
        self.limit = limit
        self._changed = Condition()
        self._clock = count(1)
        self._components: dict[tuple[str, Path], Component] = {}
        self._held: set[str] = set()
        self._going = 0  # bytes that are being freed

    @property
    def used(self) -> int:
        """Bytes of what is in memory or on its way there."""
        with self._changed:
            return self._used()

    def of_model(self, model: str, widening: int = 1) -> ModelMemory:
        """Return the place of one model's components."""
        return ModelMemory(self, model, widening)

    def component(self, model: str, path: Path, widening: int, make: Callable[[], Graph]) -> Component:
        """Return what is or was at `path`, in memory now. Raises what `use` raises."""
        with self._changed:
            if (model, path) not in self._components:
                self._components[model, path] = Component(self, model, path, widening, make)
            component = self._components[model, path]
        with self.use(component):
            return component

    def hold(self, model: str, *, held: bool) -> None:
        """Keep other models from taking a model's memory, or let them."""
        with self._changed:
            (self._held.add if held else self._held.discard)(model)
            self._changed.notify_all()

    def drop(self, model: str) -> Callable[[], None]:
        """Take out a model's components that are not in use.

        The returned function frees them, without locks.
        """
        with self._changed:
            return self._taken([component for component in self._idle() if component.model == model])

    def relieve(self, model: str) -> Callable[[], None] | None:
        """Take out idle components of other models than `model`.

        The device has no more memory. None if there is nothing to take out. What is returned frees it, without locks.
        """
        with self._changed:
            going = [component for component in self._idle() if component.model not in {model, *self._held}]
            return self._taken(going) if going else None

    @contextmanager
    def use(self, component: Component) -> Iterator[Graph]:
        """Keep a component in memory inside the block; waits while its place is taken by what is running.

        Raises:
            OutOfMemory: it is larger than the budget; or there is no place for it beside models that requests hold, and
                it is of such a model itself, so that waiting might be for itself.
            Whatever making it raises.
        """
        graph = self._enter(component)
        try:
            yield graph
        finally:
            with self._changed:
                component.users -= 1
                self._changed.notify_all()

    def _enter(self, component: Component) -> Graph:
        if 0 < self.limit < component.weight:
            raise OutOfMemory(f"{component.name} has {component.weight} bytes of weights, above {self.limit}")
        with self._changed:
            self._changed.wait_for(lambda: self._has_place(component) or self._is_stuck(component))
            if not self._has_place(component):
                raise OutOfMemory(f"{component.name} has no place in {self.limit} bytes beside the models in use")
            free = self._taken(self._in_its_place(component) or [], component.weight)
            component.users += 1
            component.last_use = next(self._clock)
            graph = component.graph
        free()
        return graph or self._make(component)

    def _make(self, component: Component) -> Graph:
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

    # The lock is held.

    def _has_place(self, component: Component) -> bool:
        """Whether the component is loaded, or may be loaded now.

        It may be if no other thread loads it and there is room.
        """
        if component.graph:
            return True
        return not component.users and self._in_its_place(component) is not None

    def _is_stuck(self, component: Component) -> bool:
        """Whether waiting for room could last for ever.

        Nothing runs that could make room, and the holder of the others may be the caller.
        """
        if component.users or self._going or component.model not in self._held:
            return False
        return not any(other.users for other in self._components.values())

    def _in_its_place(self, coming: Component) -> list[Component] | None:
        """Return the components that go for `coming`, used longest ago first.

        It is None while they do not make enough room.
        """
        excess = self._used() + coming.weight - self.limit
        if not self.limit or coming.graph:
            return []
        going = []
        for component in sorted(self._idle(), key=lambda c: c.last_use):
            if excess > 0 and (component.model == coming.model or component.model not in self._held):
                going.append(component)
                excess -= component.weight
        if excess <= 0:
            for component in going:
                log.info("%s of model %s makes room for %s", component.name, component.model, coming.model)
        return going if excess <= 0 else None

    def _taken(self, components: Sequence[Component], coming: int = 0) -> Callable[[], None]:
        """Take components out, and return a function that frees them.

        ComponentMemory `coming` in their place counts for them.
        """
        graphs, size = [component.take() for component in components], sum(c.weight for c in components)
        size -= min(size, coming)
        self._going += size
        self._changed.notify_all()
        return partial(self._free, graphs, size)

    def _free(self, graphs: list[Graph | None], size: int) -> None:
        """Free graphs; called without a lock.

        Their memory on a device is freed, so a capture must end first.
        """
        if not graphs:
            return
        with DEVICE_ACCESS.shared():
            graphs.clear()
        with self._changed:
            self._going -= size
            self._changed.notify_all()

    def _idle(self) -> list[Component]:
        return [component for component in self._components.values() if component.graph and not component.users]

    def _used(self) -> int:
        there = (component.weight for component in self._components.values() if component.graph or component.users)
        return sum(there) + self._going
