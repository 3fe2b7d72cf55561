"""Console output of an export: progress lines, sizes for people, and silence of the libraries."""

from __future__ import annotations

import contextlib
import logging
import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Stage:
    """A finished stage: its title, its duration in seconds, and its notes."""

    title: str
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class ProgressLog:
    """Writes a line to `stream` for each stage, and keeps the finished stages."""

    stream: TextIO
    stages: list[Stage] = field(default_factory=list)

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[list[str]]:
        """Announce a stage; print the notes that its body appends to the yielded list when it ends."""
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


def format_bytes(size: float) -> str:
    """Return a number of bytes with a decimal unit: 3.4 GB, 15 MB."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:  # beyond, three digits would be 1e+03
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log records below ERROR: they address the libraries' developers, not the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
