"""A side of the comparison: it imports a library, loads a model, and makes images of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .task import Task

Pixels = Any  # uint8 [height, width, 3]; numpy is imported by the side, and counts as its import


class Side:
    """The interface of all sides; those without a server let callers wait for a lock."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._lock = threading.Lock()

    def import_library(self) -> None:
        """Import all that `load` and `generate` need."""
        raise NotImplementedError

    def load(self) -> None:
        """Load the model."""
        raise NotImplementedError

    def generate(self, seed: int) -> Pixels:
        """Return the image of a seed."""
        raise NotImplementedError

    def serve(self, callers: int, each: int) -> float:
        """Return images per second of `callers` threads, which take turns: pipelines are not thread-safe."""

        def call(first: int) -> None:
            for seed in range(first, first + each):
                with self._lock:
                    self.generate(seed)

        began = time.perf_counter()
        threads = [threading.Thread(target=call, args=(each * number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return callers * each / (time.perf_counter() - began)
