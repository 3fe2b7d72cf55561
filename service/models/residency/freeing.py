"""Frees weights on a separate thread, never under a lock.

Freeing a model's weights takes seconds, and may wait for the capture of a CUDA graph. So weights that are released
under the repository's lock are put into a list, and this thread frees them after the lock is released.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..runtime.cuda_graphs import DEVICE_ACCESS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..model import Model

log = logging.getLogger(__name__)


class WeightFreer:
    """Frees weights that are released while `locked` holds `lock`."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tintype-free")
        self._released: list[tuple[Model | None, Callable[[], None] | None]] = []

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock inside the block; afterwards start to free the released weights, without waiting for it."""
        with self._lock:
            try:
                yield
            finally:
                released, self._released = self._released, []
        if released:
            try:
                self._thread.submit(_free, released)
            except RuntimeError:  # closed
                _free(released)

    def release(self, model: Model | None, free: Callable[[], None] | None = None) -> None:
        """Drop a model's object and call `free` after the lock is released. The caller holds the lock."""
        self._released.append((model, free))

    def wait(self) -> None:
        """Wait until everything released so far is freed. The caller holds no lock."""
        with suppress(RuntimeError):  # closed
            self._thread.submit(int).result()

    def close(self) -> None:
        """Wait until everything is freed, and end the thread."""
        self._thread.shutdown()


def _free(released: list[tuple[Model | None, Callable[[], None] | None]]) -> None:
    while released:
        model, free = released.pop()
        try:
            if free:
                free()
        except Exception:
            log.exception("memory could not be freed")
        with DEVICE_ACCESS.shared():  # a model may hold values on the device
            del model, free
