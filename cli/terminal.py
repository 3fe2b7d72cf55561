"""Output of commands: tables, and progress.

On a terminal, progress is one line that is rewritten; otherwise it is a plain line every few seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self, TextIO

    from tintype.v1 import image_service_pb2 as pb

Event_contra = TypeVar("Event_contra", contravariant=True)
Event = TypeVar("Event")

WIDTH = 30  # characters of the bar
BLOCKS = ("█", "░")
ASCII_BLOCKS = ("#", "-")  # for a terminal whose encoding is not UTF-8
INTERVAL = 5.0  # seconds between two plain lines about steps; a request that takes less has none


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


class Text(Protocol[Event_contra]):
    """What a display shows after each event."""

    def line(self, event: Event_contra, blocks: tuple[str, str] = BLOCKS) -> str:
        """Return the line to show after an event; empty if the event changes nothing visible."""

    def is_frequent(self, event: Event_contra) -> bool:
        """Whether a log would have too many of such events."""


def format_bar(fraction: float, blocks: tuple[str, str]) -> str:
    """Return a bar of WIDTH characters, filled to a fraction from 0 to 1."""
    full = round(fraction * WIDTH)
    return blocks[0] * full + blocks[1] * (WIDTH - full)


class ProgressText:
    """The progress of a request for `count` images, as text without control characters."""

    def __init__(self, count: int) -> None:
        self._steps = [0] * count
        self._began = time.monotonic()

    def line(self, event: pb.StreamImagesResponse, blocks: tuple[str, str] = BLOCKS) -> str:
        """Return the line to show after an event; empty if the event changes nothing visible."""
        return self._progress(event.progress, blocks) if event.HasField("progress") else format_event(event)

    def is_frequent(self, event: pb.StreamImagesResponse) -> bool:
        """Whether the event is about a step."""
        return event.HasField("progress")

    def _progress(self, progress: pb.Progress, blocks: tuple[str, str]) -> str:
        self._steps[progress.index] = progress.step
        done, total = sum(self._steps), progress.steps * len(self._steps)
        elapsed = f"{time.monotonic() - self._began:.1f} s"
        left = f", {progress.eta.ToTimedelta().total_seconds():.1f} s to go" if progress.HasField("eta") else ""
        return f"{format_bar(done / total, blocks)} {done}/{total} steps, {elapsed}{left}"


def format_event(event: pb.StreamImagesResponse) -> str:
    """Return the line about a request that has not begun; empty for other events."""
    if event.HasField("queued"):
        return _format_queued(event.queued)
    return f"loading {event.loading.model}: {event.loading.fraction:.0%}" if event.HasField("loading") else ""


def _format_queued(queued: pb.Queued) -> str:
    if not queued.position:  # it is about to start
        return ""
    start = f", starts in {queued.eta.ToTimedelta().total_seconds():.1f} s" if queued.HasField("eta") else ""
    return f"waiting: {queued.position} before this one{start}"


class LiveProgress(Generic[Event]):
    """One line that each event rewrites, erased at the end; a context manager."""

    def __init__(self, stream: TextIO, text: Text[Event]) -> None:
        self._stream = stream
        self._text = text
        self._blocks = BLOCKS if "utf" in (stream.encoding or "").lower() else ASCII_BLOCKS

    def show(self, event: Event) -> None:
        """Rewrite the line."""
        line = self._text.line(event, self._blocks)
        if line:
            self._write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("")

    def clear(self) -> None:
        """Erase the line."""
        self._write("")

    def _write(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()


class PlainProgress(Generic[Event]):
    """Lines for logs: each change once, and frequent ones every few seconds; a context manager."""

    def __init__(self, stream: TextIO, text: Text[Event], clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._text = text
        self._clock = clock
        self._last = ""
        self._written = clock()

    def show(self, event: Event) -> None:
        """Write the line if it is new; frequent ones at most once every INTERVAL seconds."""
        line = self._text.line(event, ASCII_BLOCKS)
        too_soon = self._text.is_frequent(event) and self._clock() < self._written + INTERVAL
        if line and line != self._last and not too_soon:
            self._stream.write(line + "\n")
            self._stream.flush()
            self._last, self._written = line, self._clock()

    def clear(self) -> None:
        """Do nothing: lines stay."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class NoProgress(Generic[Event]):
    """A display that shows nothing; a context manager."""

    def show(self, event: Event) -> None:
        """Show nothing."""

    def clear(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


Display = LiveProgress[Event] | PlainProgress[Event] | NoProgress[Event]


def progress_display(stream: TextIO, count: int, *, quiet: bool) -> Display[pb.StreamImagesResponse]:
    """Return the display that suits a stream, for a request for `count` images."""
    return choose_display(stream, ProgressText(count), quiet=quiet)


def choose_display(stream: TextIO, text: Text[Event], *, quiet: bool) -> Display[Event]:
    """Return the display that suits a stream."""
    if quiet:
        return NoProgress()
    return LiveProgress(stream, text) if stream.isatty() else PlainProgress(stream, text)
