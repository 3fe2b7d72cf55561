"""How a request gets on, on a terminal: one line that changes; elsewhere: a plain line every few seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self, TextIO

    from tintype.v1 import image_service_pb2 as pb

WIDTH = 30  # characters of the bar
BLOCKS = ("█", "░")
PLAIN_BLOCKS = ("#", "-")  # where the terminal's encoding has no others
PAUSE = 5.0  # seconds between two plain lines about steps: what is done sooner needs none


class Meter:
    """How far a request for `count` pictures is. Its lines are text without any control characters."""

    def __init__(self, count: int) -> None:
        self.share = 0.0
        self._steps = [0] * count
        self._began = time.monotonic()

    def line(self, event: pb.StreamImagesResponse, blocks: tuple[str, str] = BLOCKS) -> str:
        """What to show after an event; empty where it changes nothing that is seen."""
        match event.WhichOneof("event"):
            case "queued":
                return _queued(event.queued)
            case "loading":
                return f"loading {event.loading.model}: {event.loading.fraction:.0%}"
            case "progress":
                return self._progress(event.progress, blocks)
            case _:
                return ""

    def _progress(self, progress: pb.Progress, blocks: tuple[str, str]) -> str:
        self._steps[progress.index] = progress.step
        done, all_ = sum(self._steps), progress.steps * len(self._steps)
        self.share = done / all_
        full = round(self.share * WIDTH)
        spent = f"{time.monotonic() - self._began:.1f} s"
        to_go = f", {progress.eta.ToTimedelta().total_seconds():.1f} s to go" if progress.HasField("eta") else ""
        return f"{blocks[0] * full}{blocks[1] * (WIDTH - full)} {done}/{all_} steps, {spent}{to_go}"


def _queued(queued: pb.Queued) -> str:
    if not queued.position:  # it is about to start
        return ""
    start = f", starts in {queued.eta.ToTimedelta().total_seconds():.1f} s" if queued.HasField("eta") else ""
    return f"waiting: {queued.position} before this one{start}"


class Terminal:
    """One line, written anew for each event and gone at the end; a context manager."""

    def __init__(self, stream: TextIO, meter: Meter) -> None:
        self._stream = stream
        self._meter = meter
        self._blocks = BLOCKS if "utf" in (stream.encoding or "").lower() else PLAIN_BLOCKS

    def show(self, event: pb.StreamImagesResponse) -> None:
        """Write the line anew."""
        line = self._meter.line(event, self._blocks)
        if line:
            self._write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write("")

    def _write(self, line: str) -> None:
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()


class Plain:
    """Lines for logs: each new thing once, and the steps every few seconds; a context manager."""

    def __init__(self, stream: TextIO, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._meter = meter
        self._clock = clock
        self._last = ""
        self._told = clock()

    def show(self, event: pb.StreamImagesResponse) -> None:
        """Write a line if there is something to say."""
        line = self._meter.line(event, PLAIN_BLOCKS)
        soon = event.HasField("progress") and self._clock() < self._told + PAUSE
        if line and line != self._last and not soon:
            self._stream.write(line + "\n")
            self._stream.flush()
            self._last, self._told = line, self._clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Quiet:
    """Nothing; a context manager."""

    def show(self, event: pb.StreamImagesResponse) -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def view(stream: TextIO, count: int, *, quiet: bool) -> Terminal | Plain | Quiet:
    """What suits where the progress goes."""
    if quiet:
        return Quiet()
    return Terminal(stream, Meter(count)) if stream.isatty() else Plain(stream, Meter(count))
