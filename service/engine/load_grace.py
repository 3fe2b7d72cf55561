"""Minimum residency of a freshly loaded model while other models wait for its memory.

The grace period is as long as loading took, up to a maximum. So at least half of the time goes into images, however the
models alternate in the queue, and no task waits longer than the maximum for a model to be evicted. A model that was
loaded before any task waited for it has no grace period.
"""

from __future__ import annotations


class LoadGrace:
    """Grace periods of models that were seen loading. Times are of the engine's clock, in seconds."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._began: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self._unused: set[str] = set()

    def note_loading(self, model: str, now: float) -> None:
        """Record that `model` is loading."""
        self._began.setdefault(model, now)
        self._unused.discard(model)

    def note_loaded(self, model: str, now: float) -> None:
        """Record that `model` is in memory; a grace period starts if it was loading."""
        if model in self._began:
            self._until[model] = now + min(now - self._began.pop(model), self._longest)
            self._unused.add(model)

    def note_use(self, model: str) -> None:
        """Record that a task starts to use `model`."""
        self._unused.discard(model)

    def is_unused(self, model: str) -> bool:
        """Whether `model` was loaded and no task has used it since."""
        return model in self._unused

    def is_active(self, model: str, now: float) -> bool:
        """Whether the grace period of `model` lasts at `now`."""
        return now < self._until.get(model, now)
