"""Requests that come twice under one `Idempotency-Key`: the second gets the answer of the first.

- A key stands for one body: another body under it is an error.
- What is being made is waited for. It goes on when its client leaves: who sends a key means to come back.
- Of a stream the pictures are kept; a repeat that comes while it runs hears them as they are finished.
- Errors are not kept, so that a repeat tries again.
- Answers are kept as long as links work, in bounded memory; the oldest go first.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..access.rejections import KeyReused
from .replay_buffer import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from .reply import Reply

CAPACITY = 64 * 2**20  # bytes of all kept answers
ENTRY = 4096  # bytes that one takes beside its body: headers, tasks, what is around them


@dataclass(slots=True)
class _Kept:
    """An answer; `size` in bytes, with all that is around it, is known when it is complete."""

    fingerprint: bytes
    task: asyncio.Task[Reply]
    expires: float
    size: int | None = None


class Repeats:
    """Answers by key. `ttl` is in seconds of `clock`, `capacity` in bytes."""

    def __init__(self, ttl: float, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._clock = clock
        self._kept: dict[Hashable, _Kept] = {}

    def known(self, key: Hashable, fingerprint: bytes) -> asyncio.Task[Reply] | None:
        """Return the making of the answer to a key, which is not the caller's to cancel; None where there is none.

        Raises KeyReused where the key stands for something else.
        """
        kept = self._kept.get(key)
        if kept is None or (kept.size is not None and kept.expires <= self._clock()):
            return None
        if kept.fingerprint != fingerprint:
            raise KeyReused
        return kept.task

    async def once(
        self, key: Hashable, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Reply]]
    ) -> tuple[Reply, bool]:
        """Return the answer to a key, and whether it is a repeated one; `work` makes it where there is none.

        Raises KeyReused where the key stands for something else, and what `work` raises.
        """
        task = self.known(key, fingerprint)
        if task is not None:
            return await asyncio.shield(task), True
        task = asyncio.create_task(work())
        self._kept.pop(key, None)  # what has expired: the newest are at the end
        self._kept[key] = _Kept(fingerprint, task, self._clock() + self._ttl)
        task.add_done_callback(partial(self._made, key))
        return await asyncio.shield(task), False

    def _made(self, key: Hashable, task: asyncio.Task[Reply]) -> None:
        """Settle what is there; of a stream that has begun the rest is waited for."""
        begun = not task.cancelled() and not task.exception() and task.result().body
        if isinstance(begun, Recording):
            begun.rest.add_done_callback(partial(self._settle, key))
        else:
            self._settle(key, task)

    def _settle(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        """Keep a finished answer, or forget a failed one."""
        if task.cancelled() or task.exception():
            del self._kept[key]
            return
        self._kept[key].size = ENTRY + len(self._kept[key].task.result().body)
        used = sum(kept.size or 0 for kept in self._kept.values())
        for name, kept in list(self._kept.items()):
            if used <= self._capacity and kept.expires > self._clock():
                break
            if kept.size is not None:
                used -= kept.size
                del self._kept[name]
