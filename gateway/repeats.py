"""Requests that come twice under one `Idempotency-Key`: the second gets the answer of the first.

- A key stands for one body: another body under it is an error.
- What is being made is waited for. It goes on when its client leaves: who sends a key means to come back.
- Errors are not kept, so that a repeat tries again.
- Answers are kept as long as links work, in bounded memory; the oldest go first.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .denials import KeyReused

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

    from .generation import Made

CAPACITY = 64 * 2**20  # bytes of all kept answers


@dataclass(slots=True)
class _Kept:
    fingerprint: bytes
    task: asyncio.Task[Made]
    expires: float
    size: int = 0


class Repeats:
    """Answers by key. `ttl` is in seconds of `clock`, `capacity` in bytes."""

    def __init__(self, ttl: float, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}

    async def once(
        self, key: Hashable, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Made]]
    ) -> tuple[Made, bool]:
        """Return the answer to a key, and whether it is a repeated one; `work` makes it where there is none.

        Raises KeyReused where the key stands for something else, and what `work` raises.
        """
        kept = self._known(key)
        if kept is not None:
            if kept.fingerprint != fingerprint:
                raise KeyReused
            return await asyncio.shield(kept.task), True
        task = asyncio.create_task(work())
        self._kept[key] = _Kept(fingerprint, task, self._clock() + self._ttl)
        task.add_done_callback(partial(self._settle, key))
        return await asyncio.shield(task), False

    def _known(self, key: Hashable) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is not None and kept.task.done() and kept.expires <= self._clock():
            del self._kept[key]
            return None
        return kept

    def _settle(self, key: Hashable, task: asyncio.Task[Made]) -> None:
        """Keep a finished answer, or forget a failed one."""
        if task.cancelled() or task.exception():
            del self._kept[key]
            return
        self._kept[key].size = len(task.result().body)
        used = sum(kept.size for kept in self._kept.values())
        for name, kept in list(self._kept.items()):
            if used <= self._capacity and kept.expires > self._clock():
                break
            if kept.task.done():
                used -= kept.size
                del self._kept[name]
