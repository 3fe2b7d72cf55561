"""Cache of replies by `Idempotency-Key`: a repeated request gets the reply to the first.

- A key belongs to one body; another body under the same key is an error.
- If the first request is still running, the repeated one waits for it. Work continues when the client disconnects,
  because a client that sends a key is expected to repeat its request.
- Of a stream, only the images are kept. A request that is repeated while the stream runs receives them one by one.
- Errors are not kept, so a repeated request tries again.
- Replies are kept as long as links work, in limited memory; the oldest are dropped first.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..access.rejections import KeyReused
from .replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from .reply import Reply

CAPACITY = 64 * 2**20  # bytes of all kept replies
ENTRY_OVERHEAD = 4096  # bytes of an entry in addition to its body: headers, tasks, containers


@dataclass(slots=True)
class _Entry:
    """A reply; `size`, in bytes of body and overhead, is set when it is complete."""

    fingerprint: bytes
    task: asyncio.Task[Reply]
    expires: float
    size: int | None = None


class IdempotencyCache:
    """Replies by key. `ttl` is in seconds of `clock`, `capacity` in bytes."""

    def __init__(self, ttl: float, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._capacity = capacity
        self._clock = clock
        self._entries: dict[Hashable, _Entry] = {}

    def find(self, key: Hashable, fingerprint: bytes) -> asyncio.Task[Reply] | None:
        """Return the task of the reply to a key, which the caller must not cancel; None if there is none.

        Raises KeyReused if the key belongs to another body.
        """
        entry = self._entries.get(key)
        if entry is None or (entry.size is not None and entry.expires <= self._clock()):
            return None
        if entry.fingerprint != fingerprint:
            raise KeyReused
        return entry.task

    async def get_or_run(
        self, key: Hashable, fingerprint: bytes, work: Callable[[], Coroutine[Any, Any, Reply]]
    ) -> tuple[Reply, bool]:
        """Return the reply to a key and whether it is a repetition; run `work` to make a new reply.

        Raises KeyReused if the key belongs to another body, and the errors of `work`.
        """
        task = self.find(key, fingerprint)
        if task is not None:
            return await asyncio.shield(task), True
        task = asyncio.create_task(work())
        self._entries.pop(key, None)  # an expired entry: the new one must be the last
        self._entries[key] = _Entry(fingerprint, task, self._clock() + self._ttl)
        task.add_done_callback(partial(self._on_reply, key))
        return await asyncio.shield(task), False

    def _on_reply(self, key: Hashable, task: asyncio.Task[Reply]) -> None:
        """Settle the entry of a finished reply; a stream is settled once it has ended."""
        body = not task.cancelled() and not task.exception() and task.result().body
        if isinstance(body, ReplayBuffer):
            body.task.add_done_callback(partial(self._settle, key))
        else:
            self._settle(key, task)

    def _settle(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        """Keep a finished reply, or drop a failed one; drop old entries beyond the capacity."""
        if task.cancelled() or task.exception():
            del self._entries[key]
            return
        self._entries[key].size = ENTRY_OVERHEAD + len(self._entries[key].task.result().body)
        used = sum(entry.size or 0 for entry in self._entries.values())
        for name, entry in list(self._entries.items()):
            if used <= self._capacity and entry.expires > self._clock():
                break
            if entry.size is not None:
                used -= entry.size
                del self._entries[name]
