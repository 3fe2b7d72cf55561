"""The adapters of a model in memory: those that images hold, and the last ones used."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from .layer_sizes import Adapter


class AdapterCache:
    """Adapters by name, from any thread. `read` reads one; the last `size` are kept, and those that a caller holds.

    Threads that want the same adapter read it once. A thread that wants another one does not wait for it.
    """

    def __init__(self, read: Callable[[str], Adapter], size: int) -> None:
        self._read, self._size = read, size
        self._lock = Lock()
        self._reading: dict[str, Lock] = {}
        self._latest: OrderedDict[str, Adapter] = OrderedDict()
        self._held: WeakValueDictionary[str, Adapter] = WeakValueDictionary()

    def get(self, name: str) -> Adapter:
        """Return an adapter that is in memory, or read it. Raises the errors of `read`."""
        with self._lock:
            reading = self._reading.setdefault(name, Lock())
        with reading:
            adapter = self._find(name)
            if adapter is None:
                adapter = self._read(name)
            self._keep(name, adapter)
        return adapter

    def _find(self, name: str) -> Adapter | None:
        with self._lock:
            return self._held.get(name)

    def _keep(self, name: str, adapter: Adapter) -> None:
        with self._lock:
            self._held[name] = self._latest[name] = adapter
            self._latest.move_to_end(name)
            if len(self._latest) > self._size:
                self._latest.popitem(last=False)
