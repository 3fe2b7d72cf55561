"""`Idempotency-Key`: a repeated request gets the reply to the first. A cache has the replies of requests that wait.

Jobs keep the same keys in the database (`gateway.jobs`); a key means the same in both.

- A key belongs to one body; another body under the same key is an error.
- If the first request is still running, the repeated one waits for it. Work continues when the client disconnects,
  because a client that sends a key is expected to repeat its request.
- Of a stream, only the images are kept. A request that is repeated while the stream runs receives them one by one.
- Errors are not kept, so a repeated request tries again.
- Replies are kept as long as links work, in limited memory; the oldest are dropped first.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..access.rejections import KeyReused
from ..errors import BadRequest
from ..http.body_limits import store_body
from .replay_buffer import ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from litestar import Request

    from .reply import Reply

KEY_HEADER = "idempotency-key"
MAX_KEY_CHARS = 255  # characters of a key
CAPACITY = 64 * 2**20  # bytes of all kept replies
ENTRY_OVERHEAD = 4096  # bytes of an entry in addition to its body: headers, tasks, containers


class RequestKey(NamedTuple):
    """An Idempotency-Key: the digest of the key, its sender and its path, and the fingerprint of the body."""

    digest: bytes
    fingerprint: bytes


async def request_key(request: Request[Any, Any, Any]) -> RequestKey | None:
    """Return the Idempotency-Key of a request, whose body is then stored; None without one. Raises BadRequest."""
    key = request.headers.get(KEY_HEADER, "")
    if not key:
        return None
    if len(key) > MAX_KEY_CHARS:
        raise BadRequest(f"{KEY_HEADER} must have at most {MAX_KEY_CHARS} characters, not {len(key)}.")
    sender = (*(request.headers.get(name, "") for name in ("authorization", "api-key")), request.scope["path"], key)
    digest = hashlib.sha256(repr(sender).encode()).digest()
    return RequestKey(digest, await asyncio.to_thread(_fingerprint, await store_body(request), request))


def _fingerprint(body: bytes | bytearray, request: Request[Any, Any, Any]) -> bytes:
    """Return the fingerprint of a body, equal for each repeated request.

    The boundary of a form is left out, since each request draws a new one. A large body takes tens of milliseconds:
    call it in a thread.
    """
    boundary = request.content_type[1].get("boundary")
    return hashlib.sha256(body.replace(boundary.encode(), b"") if boundary else body).digest()


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
