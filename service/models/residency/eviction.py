"""Eviction rules: the one place that decides what is evicted. A new rule goes here.

Memory is shared at two levels. The repository decides which models may load: a model is evicted by dropping its object,
while its components stay until their bytes are needed. `component_memory` decides which weights are freed.

`load_queue` asks for models to evict, `component_memory` for components. At both levels the least recently used is
evicted first, and no more than necessary. What is protected:

    rule                      may not be evicted
    `models_to_evict`         a model that a task holds, that is being loaded, or is in its first-use grace period
    `idle_models`             a model that a task holds or that is being loaded
    `components_to_evict`     a running component, or a component of another model that a task holds
    `idle_components`         a running component, or one of a model that a task holds

The first and the third make room within the budget. The second and the fourth free everything that is idle when the
device is out of memory. `slot` counts the holds, and `load_grace` keeps the grace periods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable

    from .slot import Slot


class Evictable(Protocol):
    """A model or component in memory; `last_use` grows with each use of any."""

    @property
    def last_use(self) -> int: ...  # noqa: D102


class EvictableComponent(Evictable, Protocol):
    """A component of `model` that takes `weight` bytes."""

    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def weight(self) -> int: ...  # noqa: D102


R = TypeVar("R", bound=Evictable)
P = TypeVar("P", bound=EvictableComponent)


def models_to_evict(slots: Iterable[Slot], incoming: Slot, budget: int, grace: Container[Slot]) -> list[Slot] | None:
    """Return the models to evict so that `incoming` fits into `budget` bytes (0: no limit).

    A model that is larger than the budget counts as the whole budget, since its components take turns. A model that
    waits for memory counts as 0 bytes. Return None if evicting everything that is not protected would not make enough
    room.
    """
    if not budget:
        return []
    counted = [slot for slot in slots if slot.state.uses_memory and slot is not incoming]
    excess = sum(min(slot.weight, budget) for slot in counted) + min(incoming.weight, budget) - budget
    candidates = [slot for slot in counted if slot.state.is_resident and not slot.holds and slot not in grace]
    return _least_recently_used(candidates, excess, lambda slot: min(slot.weight, budget))


def idle_models(slots: Iterable[Slot], keep: Slot) -> list[Slot]:
    """Return the models other than `keep` that can be evicted for an out-of-memory device."""
    return [slot for slot in slots if slot is not keep and slot.state.is_resident and not slot.holds]


def components_to_evict(idle: Iterable[P], incoming: P, excess: int, held: Collection[str]) -> list[P] | None:
    """Return the components to evict to free `excess` bytes for `incoming`; `held` are models that tasks hold.

    `idle` are the components in memory that are not running. Return None if they do not free enough.
    """
    candidates = [component for component in idle if component.model == incoming.model or component.model not in held]
    return _least_recently_used(candidates, excess, lambda component: component.weight)


def idle_components(idle: Iterable[P], model: str, held: Collection[str]) -> list[P]:
    """Return the components of models other than `model` that can be freed for an out-of-memory device."""
    return [component for component in idle if component.model != model and component.model not in held]


def _least_recently_used(candidates: Iterable[R], excess: int, size: Callable[[R], int]) -> list[R] | None:
    """Return the candidates to evict so that `excess` bytes are freed; None if all together free less."""
    evicted = []
    for candidate in sorted(candidates, key=lambda c: c.last_use):
        if excess <= 0:
            break
        evicted.append(candidate)
        excess -= size(candidate)
    return evicted if excess <= 0 else None
