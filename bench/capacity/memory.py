"""A node's memory for models: a repository without weights, with the service's rules.

Models load one at a time, in the order in which they were requested. A model that waits for memory evicts the least
recently used one that no task holds and that is not in its first-use grace period (`load_grace`). All models have the
same size, so that `capacity` models fit.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from tintype.service.models.residency.load_grace import FIRST_USE_SECONDS
from tintype.service.models.residency.slot import ModelState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


class LoadStatus(NamedTuple):
    """The part of a model's status that leases read."""

    state: ModelState


class Memory:
    """Models by name. `load_later` is called when a model begins to load; `finish_load` ends its load."""

    def __init__(self, capacity: int, load_later: Callable[[str], None], now: Callable[[], float]) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1 model; got {capacity}")
        self.capacity = capacity
        self.loads = 0
        self.version = 0
        self._load_later, self._now = load_later, now
        self._states: dict[str, ModelState] = {}  # neither UNLOADED nor FAILED
        self._resident: dict[str, None] = {}  # least recently used first
        self._holds: dict[str, int] = {}
        self._grace: dict[str, float] = {}  # ends of first-use grace periods

    @property
    def resident(self) -> list[str]:
        """Names of the models in memory."""
        return list(self._resident)

    @property
    def loading(self) -> frozenset[str]:
        """Names of the models that are loading or wait for memory."""
        return frozenset(name for name, state in self._states.items() if state.is_loading)

    def place(self, name: str) -> None:
        """Put a model into memory that was loaded before the simulation began."""
        self._states[name] = ModelState.RESIDENT
        self._resident[name] = None

    def load(self, name: str, *, pinned: bool) -> None:  # noqa: ARG002 - the repository's signature
        """Request a model."""
        if name not in self._states:
            self._set(name, ModelState.WAITING)
            self._advance()

    def finish_load(self, name: str) -> None:
        """Put a model into memory whose time to load is over, and begin with the next one."""
        self._resident[name] = None
        self._set(name, ModelState.RESIDENT)
        if ModelState.WAITING in self._states.values():
            self._grace[name] = self._now() + FIRST_USE_SECONDS
        self._load_next()
        self._advance()

    def status(self, name: str) -> LoadStatus:
        """Return the state of a model."""
        return LoadStatus(self._states.get(name, ModelState.UNLOADED))

    def get(self, name: str) -> str | None:
        """Return a model if it is in memory; otherwise request it."""
        if name not in self._resident:
            self.load(name, pinned=False)
            return None
        del self._resident[name]
        self._resident[name] = None  # to the end
        return name

    def hold(self, name: str) -> None:
        """Keep a model in memory."""
        self._holds[name] = self._holds.get(name, 0) + 1
        self._grace.pop(name, None)

    def release(self, name: str) -> None:
        """Release a hold."""
        self._holds[name] -= 1
        self._advance()

    def set_demand(self, wanted: Collection[str], urgent: Collection[str]) -> None:
        """Drop requests that no task wants any more, and end grace periods of models that are not urgent."""
        for name in [name for name, state in self._states.items() if state is ModelState.WAITING]:
            if name not in wanted:
                del self._states[name]
        self._grace = {name: end for name, end in self._grace.items() if name in urgent}
        self._advance()

    def next_end(self) -> float:
        """Return when the next grace period ends; infinity if there is none."""
        return min(self._grace.values(), default=inf)

    def expire(self) -> None:
        """End the grace periods that are over."""
        self._grace = {name: end for name, end in self._grace.items() if end > self._now()}
        self._advance()

    def _advance(self) -> None:
        """Begin to load waiting models, first come, first served, while there is room."""
        for name in [name for name, state in self._states.items() if state is ModelState.WAITING]:
            if not self._make_room():
                return
            is_idle = ModelState.LOADING not in self._states.values()
            self._set(name, ModelState.LOADING)
            if is_idle:
                self._load_next()

    def _load_next(self) -> None:
        name = next((name for name, state in self._states.items() if state is ModelState.LOADING), None)
        if name is not None:
            self.loads += 1
            self._load_later(name)

    def _make_room(self) -> bool:
        used = sum(state is not ModelState.WAITING for state in self._states.values())
        if used < self.capacity:
            return True
        for name in self._resident:
            if not self._holds.get(name) and name not in self._grace:
                del self._resident[name], self._states[name]
                self.version += 1
                return True
        return False

    def _set(self, name: str, state: ModelState) -> None:
        self._states.pop(name, None)  # to the end: the order of requests, then of loads
        self._states[name] = state
        self.version += 1
