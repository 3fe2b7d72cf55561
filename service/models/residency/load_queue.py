"""The load queue: models that wait for memory, first come, first served.

The first model loads as soon as `eviction` finds room for it, so small models do not overtake a large one. Not
thread-safe: the repository's lock guards it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .eviction import models_to_evict

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from .load_grace import FirstUse
    from .slot import Slot

log = logging.getLogger(__name__)


class LoadQueue:
    """FIFO of those `slots` that wait to load into `budget` bytes (0: no limit).

    `load` starts loading a model, `evict` evicts one to make room; `grace` protects models from eviction.
    """

    def __init__(
        self,
        slots: Iterable[Slot],
        budget: int,
        grace: FirstUse,
        *,
        load: Callable[[Slot], object],
        evict: Callable[[Slot], object],
    ) -> None:
        self._slots, self._budget, self._grace, self._load, self._evict = slots, budget, grace, load, evict
        self._waiting: dict[Slot, bool] = {}  # in order of arrival; True: pinned
        self._closed = False

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, slot: Slot) -> None:
        """Put a model at the end; it loads at once if there is room and no other model waits."""
        slot.enqueue()
        self._waiting[slot] = False
        self.advance()

    def pin(self, slot: Slot) -> None:
        """Keep a model in the queue even if no live request wants it: LoadModel or the server requested it."""
        if slot in self._waiting:
            self._waiting[slot] = True

    def remove(self, slot: Slot) -> bool:
        """Remove a model; return False if it is not in the queue."""
        return self._waiting.pop(slot, None) is not None

    def unwanted(self, wanted: Collection[str]) -> list[Slot]:
        """Return the models in the queue that are neither pinned nor in `wanted`."""
        return [slot for slot, pinned in self._waiting.items() if not pinned and slot.name not in wanted]

    def advance(self) -> None:
        """Start loading models from the front of the queue while there is room."""
        while self._waiting and not self._closed:
            slot = next(iter(self._waiting))
            if not self._make_room(slot):
                return
            del self._waiting[slot]
            slot.begin_loading()
            self._load(slot)

    def close(self) -> None:
        """Stop loading models."""
        self._closed = True
        self._waiting.clear()

    def _make_room(self, slot: Slot) -> bool:
        """Evict models for `slot`; return False while protected models take its memory.

        The components of evicted models stay until their bytes are needed, so that a model that is soon requested again
        loads faster.
        """
        evicted = models_to_evict(self._slots, slot, self._budget, self._grace)
        for other in evicted or ():
            log.info("model %s makes room for %s", other.name, slot.name)
            self._evict(other)
        return evicted is not None
