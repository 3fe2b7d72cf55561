"""Telling what an export does: one line when a stage begins, and its time when it ends."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage that has ended: its title, its seconds, and what was found out in it."""

    title: str
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Progress:
    """Writes to `stream` as stages begin and end, and keeps them."""

    stream: TextIO
    stages: list[Stage] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[list[str]]:
        """Announce a stage; what its body appends to the list given is told when it ends."""
        notes: list[str] = []
        start = time.perf_counter()
        self._write(f"{title} ... ")
        try:
            yield notes
        except BaseException:
            self._write("failed\n")
            raise
        ended = Stage(title, time.perf_counter() - start, tuple(notes))
        self.stages.append(ended)
        self._write(f"{ended.seconds:.1f} s\n" + "".join(f"  {note}\n" for note in notes))

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def readable(size: float) -> str:
    """Return bytes for people: 3.4 GB, 15 MB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
