"""What a run says: a line or a line of JSON for each image, the progress of several prompts, and a summary."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..terminal import BLOCKS, choose_display, format_bar, format_event, progress_display

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from tintype.v1 import image_service_pb2 as pb

    from ..terminal import Display

MAX_SHOWN = 60  # characters of a prompt in a line
STAGES = ("queue", "encode", "denoise", "decode", "total")


@dataclass(frozen=True, slots=True)
class RunEvent:
    """An event of the prompt with this number, which makes `count` images; `event` is None if it failed."""

    index: int
    count: int
    event: pb.StreamImagesResponse | None


class RunText:
    """The progress of several prompts, as text without control characters."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._began = clock()
        self._fractions: dict[tuple[int, int], float] = {}  # of each image that has begun, by prompt and number
        self._images = self._failed = 0

    def line(self, event: RunEvent, blocks: tuple[str, str] = BLOCKS) -> str:
        """Return the line to show after an event: images done, and the time that the others will probably take."""
        index, inner = event.index, event.event
        if inner is None:
            self._failed += 1
            self._fractions |= {(index, number): 1.0 for number in range(event.count)}
        elif inner.HasField("image"):
            self._images += 1
            self._fractions[index, inner.image.index] = 1.0
        elif inner.HasField("progress"):
            self._fractions[index, inner.progress.index] = inner.progress.step / inner.progress.steps
        elif not self._fractions:
            return format_event(inner) if index == 0 else ""  # the others wait for it
        return self._line(blocks)

    def _line(self, blocks: tuple[str, str]) -> str:
        done, seconds = sum(self._fractions.values()), self._clock() - self._began
        left = f", {seconds / done * (self._total - done):.0f} s to go" if 0.5 < done < self._total else ""
        failed = f", {self._failed} failed" if self._failed else ""
        bar = format_bar(min(done / self._total, 1.0), blocks)
        return f"{bar} {self._images}/{self._total} images{failed}, {seconds:.0f} s{left}"

    def is_frequent(self, event: RunEvent) -> bool:
        """Whether a log would have too many of such events."""
        return event.event is not None and not event.event.HasField("loading")


class Progress:
    """The progress of a run on a stream: that of the request of one prompt, or of all images of several."""

    def __init__(self, stream: TextIO, counts: list[int], *, quiet: bool) -> None:
        self._one: Display[pb.StreamImagesResponse] | None = None
        self._all: Display[RunEvent] | None = None
        self._counts = counts
        if len(counts) == 1:
            self._one = progress_display(stream, counts[0], quiet=quiet)
        else:
            self._all = choose_display(stream, RunText(sum(counts)), quiet=quiet)

    def show(self, index: int, event: pb.StreamImagesResponse | None) -> None:
        """Show an event of a prompt; None is its failure."""
        if self._one is not None and event is not None:
            self._one.show(event)
        if self._all is not None:
            self._all.show(RunEvent(index, self._counts[index], event))

    def clear(self) -> None:
        """Erase the line of a terminal, so that other text may follow."""
        for display in (self._one, self._all):
            if display is not None:
                display.clear()


def shorten(prompt: str) -> str:
    """Return a prompt in one line of at most MAX_SHOWN characters, without those that control a terminal."""
    words = " ".join(prompt[: 4 * MAX_SHOWN].split())
    text = "".join(character if character.isprintable() else "?" for character in words)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def describe(image: pb.Image, path: Path, prompt: str = "") -> str:
    """Return one line about a saved image; with the prompt, if it is one of several."""
    seconds = image.timings.total.ToTimedelta().total_seconds()
    line = f"{path}: {image.width}x{image.height}, seed {image.seed}, {seconds:.1f} s"
    line += f", {shorten(prompt)}" if prompt else ""
    return line + (f", prompt used: {image.revised_prompt}" if image.revised_prompt else "")


def image_json(image: pb.Image, path: Path | None, request: pb.GenerateImagesRequest, index: int) -> str:
    """Return a line of JSON about an image; `file` is null if only a sheet is written."""
    seconds = {stage: getattr(image.timings, stage).ToMicroseconds() / 1e6 for stage in STAGES}
    found = {
        "file": None if path is None else str(path),
        "index": index + 1,
        "image": image.index + 1,
        "prompt": request.prompt,
        "seed": image.seed,
        "width": image.width,
        "height": image.height,
        "bytes": len(image.data),
        "seconds": seconds,
    }
    if image.revised_prompt:
        found["revised_prompt"] = image.revised_prompt
    return json.dumps(found, ensure_ascii=False)


def failure_json(prompt: str, index: int, error: str) -> str:
    """Return a line of JSON about a prompt that failed."""
    return json.dumps({"error": error, "index": index + 1, "prompt": prompt}, ensure_ascii=False)


def summary(images: int, prompts: int, failed: int, undone: int, seconds: float) -> str:
    """Return the last line of a run of several prompts."""
    parts = [f"{images} image{'s' * (images != 1)} in {seconds:.1f} s"]
    parts += [f"{failed} of {prompts} prompts failed"] if failed else []
    parts += [f"{undone} of {prompts} prompts not finished"] if undone else []
    return ", ".join(parts)
