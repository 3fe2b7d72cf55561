"""Eviction rules: the one place that decides what is evicted. A new rule goes here.

Memory is shared at two levels. The repository decides which models may load: a model is evicted by dropping its object,
while its components stay until their bytes are needed. `component_memory` decides which weights are freed.

`load_queue` asks for models to evict, `component_memory` for components. At both levels the least recently used is
evicted first, and no more than necessary. What is protected:

    rule                      may not be evicted
    `models_to_evict`         a model that a task holds, that is being loaded, or is in its first-use grace period
    `idle_models`             a model that a task holds or that is being loaded
    `components_to_evict`     a running component, or one that another model has which a task holds
    `idle_components`         a running component, or one of a model that a task holds

The first and the third make room within the budget. The second and the fourth free everything that is idle when the
device is out of memory. `slot` counts the holds, and `load_grace` keeps the grace periods.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable

    from .slot import Slot


class EvictableComponent(Protocol):
    """A component of `models` that takes `weight` bytes; `last_use` grows with each use of any."""

    @property
    def last_use(self) -> int: ...  # noqa: D102
    @property
    def models(self) -> set[str]: ...  # noqa: D102
    @property
    def weight(self) -> int: ...  # noqa: D102


P = TypeVar("P", bound=EvictableComponent)


def models_to_evict(slots: Iterable[Slot], incoming: Slot, budget: int, grace: Container[Slot]) -> list[Slot] | None:
    """Return the models to evict so that `incoming` fits into `budget` bytes (0: no limit).

    A model that waits for memory counts as 0 bytes. Return None if evicting everything that is not protected would not
    make enough room.
    """
    if not budget:
        return []
    staying = [slot for slot in slots if slot.state.uses_memory and slot is not incoming]
    candidates = [slot for slot in staying if slot.state.is_resident and not slot.holds and slot not in grace]
    evicted: list[Slot] = []
    for candidate in sorted(candidates, key=lambda slot: slot.last_use):
        if _joint_bytes([incoming, *staying], budget) <= budget:
            break
        staying.remove(candidate)
        evicted.append(candidate)
    return evicted if _joint_bytes([incoming, *staying], budget) <= budget else None


def _joint_bytes(slots: Iterable[Slot], budget: int) -> int:
    """Return the bytes of models together; text encoders that several of them share count once.

    A model that is larger than the budget counts as the whole budget, since its components take turns.
    """
    total, counted = 0, set[Hashable]()
    for slot in slots:
        shared = slot.shared_bytes
        twice = sum(size for content, size in shared.items() if content in counted)
        total += min(slot.weight - twice, budget)
        counted |= shared.keys()
    return total


def idle_models(slots: Iterable[Slot], keep: Slot) -> list[Slot]:
    """Return the models other than `keep` that can be evicted for an out-of-memory device."""
    return [slot for slot in slots if slot is not keep and slot.state.is_resident and not slot.holds]


def components_to_evict(idle: Iterable[P], model: str, excess: int, held: Collection[str]) -> list[P] | None:
    """Return the components to evict to free `excess` bytes for one of `model`; `held` are models that tasks hold.

    `idle` are the components in memory that are not running. Return None if they do not free enough.
    """
    candidates = [component for component in idle if not component.models & (set(held) - {model})]
    evicted = []
    for candidate in sorted(candidates, key=lambda component: component.last_use):
        if excess <= 0:
            break
        evicted.append(candidate)
        excess -= candidate.weight
    return evicted if excess <= 0 else None


def idle_components(idle: Iterable[P], model: str, held: Collection[str]) -> list[P]:
    """Return the components of models other than `model` that can be freed for an out-of-memory device."""
    return [component for component in idle if not component.models & {model, *held}]
