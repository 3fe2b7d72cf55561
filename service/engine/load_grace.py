"""LoadGrace: how long a model that was loaded stays for those who wait for it, when others wait for its memory.

As long as its loading took, and at most so many seconds: so at least half of the time goes into images, however the
models alternate in the queue, and nobody waits longer than that for a model to go. One that was there before anybody
waited for it has cost nobody anything, and has no turn.
"""

from __future__ import annotations


class LoadGrace:
    """Of the models that were seen loading; times are points of the engine's clock, in seconds."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._began: dict[str, float] = {}
        self._until: dict[str, float] = {}
        self._unused: set[str] = set()

    def note_loading(self, model: str, now: float) -> None:
        """It is on its way."""
        self._began.setdefault(model, now)
        self._unused.discard(model)

    def note_loaded(self, model: str, now: float) -> None:
        """It is in memory."""
        if model in self._began:
            self._until[model] = now + min(now - self._began.pop(model), self._longest)
            self._unused.add(model)

    def note_use(self, model: str) -> None:
        """A job on it begins."""
        self._unused.discard(model)

    def is_unused(self, model: str) -> bool:
        """Whether it has come, and no job on it has begun since."""
        return model in self._unused

    def is_active(self, model: str, now: float) -> bool:
        """Whether it stays for those who wait for it."""
        return now < self._until.get(model, now)
