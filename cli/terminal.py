"""Output of commands: tables, and the progress of a request.

On a terminal, progress is one line that is rewritten; otherwise it is a plain line every few seconds.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self, TextIO

    from tintype.v1 import image_service_pb2 as pb

WIDTH = 30  # characters of the bar
BLOCKS = ("█", "░")
ASCII_BLOCKS = ("#", "-")  # for a terminal whose encoding is not UTF-8
INTERVAL = 5.0  # seconds between two plain lines about steps; a request that takes less has none


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


class ProgressText:
    """The progress of a request for `count` images, as text without control characters."""

    def __init__(self, count: int) -> None:
        self._steps = [0] * count
        self._began = time.monotonic()

    def line(self, event: pb.StreamImagesResponse, blocks: tuple[str, str] = BLOCKS) -> str:
        """Return the line to show after an event; empty if the event changes nothing visible."""
        match event.WhichOneof("event"):
            case "queued":
                return _format_queued(event.queued)
            case "loading":
                return f"loading {event.loading.model}: {event.loading.fraction:.0%}"
            case "progress":
                return self._progress(event.progress, blocks)
            case _:
                return ""

    def _progress(self, progress: pb.Progress, blocks: tuple[str, str]) -> str:
        self._steps[progress.index] = progress.step
        done, total = sum(self._steps), progress.steps * len(self._steps)
        full = round(done / total * WIDTH)
        elapsed = f"{time.monotonic() - self._began:.1f} s"
        left = f", {progress.eta.ToTimedelta().total_seconds():.1f} s to go" if progress.HasField("eta") else ""
        return f"{blocks[0] * full}{blocks[1] * (WIDTH - full)} {done}/{total} steps, {elapsed}{left}"


def _format_queued(queued: pb.Queued) -> str:
    if not queued.position:  # it is about to start
        return ""
    start = f", starts in {queued.eta.ToTimedelta().total_seconds():.1f} s" if queued.HasField("eta") else ""
    return f"waiting: {queued.position} before this one{start}"


class LiveProgress:
    """One line that each event rewrites, erased at the end; a context manager."""

    def __init__(self, stream: TextIO, text: ProgressText) -> None:
        self._stream = stream
        self._text = text
        self._blocks = BLOCKS if "utf" in (stream.encoding or "").lower() else ASCII_BLOCKS

    def show(self, event: pb.StreamImagesResponse) -> None:
        """Rewrite the line."""
        line = self._text.line(event, self._blocks)
        if line:
            self._write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("")

    def _write(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()


class PlainProgress:
    """Lines for logs: each change once, and the steps every few seconds; a context manager."""

    def __init__(self, stream: TextIO, text: ProgressText, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._text = text
        self._clock = clock
        self._last = ""
        self._written = clock()

    def show(self, event: pb.StreamImagesResponse) -> None:
        """Write the line if it is new; lines about steps at most once every INTERVAL seconds."""
        line = self._text.line(event, ASCII_BLOCKS)
        too_soon = event.HasField("progress") and self._clock() < self._written + INTERVAL
        if line and line != self._last and not too_soon:
            self._stream.write(line + "\n")
            self._stream.flush()
            self._last, self._written = line, self._clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class NoProgress:
    """A display that shows nothing; a context manager."""

    def show(self, event: pb.StreamImagesResponse) -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def progress_display(stream: TextIO, count: int, *, quiet: bool) -> LiveProgress | PlainProgress | NoProgress:
    """Return the display that suits a stream, for a request for `count` images."""
    if quiet:
        return NoProgress()
    text = ProgressText(count)
    return LiveProgress(stream, text) if stream.isatty() else PlainProgress(stream, text)
