"""The progress that `tintype generate` shows."""

from __future__ import annotations

import io

import pytest
from google.protobuf.duration_pb2 import Duration

from tintype.cli.terminal import LiveProgress, NoProgress, PlainProgress, ProgressText, progress_display
from tintype.v1 import image_service_pb2 as pb


def progress(step: int, *, index: int = 0, steps: int = 20, eta: int | None = None) -> pb.StreamImagesResponse:
    left = None if eta is None else Duration(seconds=eta)
    return pb.StreamImagesResponse(progress=pb.Progress(index=index, step=step, steps=steps, eta=left))


QUEUED = pb.StreamImagesResponse(queued=pb.Queued(position=2, eta=Duration(seconds=3)))
LOADING = pb.StreamImagesResponse(loading=pb.Loading(model="sdxl", fraction=0.5))
IMAGE = pb.StreamImagesResponse(image=pb.Image())


class Terminal(io.StringIO):
    """A terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_text_of_each_event() -> None:
    """The position in the queue, loading, and the steps of all images with the remaining time."""
    meter = ProgressText(count=2)
    assert meter.line(QUEUED) == "waiting: 2 before this one, starts in 3.0 s"
    assert meter.line(pb.StreamImagesResponse(queued=pb.Queued(position=0))) == ""
    assert meter.line(LOADING) == "loading sdxl: 50%"
    assert meter.line(progress(20, eta=4)).startswith("█" * 15 + "░" * 15 + " 20/40 steps, 0.0 s, 4.0 s to go")
    assert meter.line(progress(20, index=1)).startswith("█" * 30 + " 40/40 steps, ")
    assert meter.line(IMAGE) == ""


def test_terminal_line_is_erased_at_the_end() -> None:
    """On a terminal each line replaces the previous one, and nothing remains at the end."""
    stream = Terminal()
    with progress_display(stream, 1, quiet=False) as shown:
        assert isinstance(shown, LiveProgress)
        shown.show(progress(1))
        shown.show(IMAGE)
    assert stream.getvalue().startswith("\r\x1b[K██")
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\n" not in stream.getvalue()


def test_plain_lines_are_rare() -> None:
    """Elsewhere a request writes a plain line every few seconds, and a short request no line about steps."""
    stream = io.StringIO()
    seconds = iter(range(1000))
    with PlainProgress(stream, ProgressText(1), lambda: next(seconds) / 4) as shown:
        for event in (QUEUED, QUEUED, *(progress(step, steps=100) for step in range(1, 101))):
            shown.show(event)
    lines = stream.getvalue().splitlines()
    assert 4 <= len(lines) <= 6
    assert lines[0].startswith("waiting")
    assert lines[1].startswith("######-")
    with progress_display(short := io.StringIO(), 1, quiet=False) as shown:
        assert isinstance(shown, PlainProgress)
        shown.show(progress(20))
    assert short.getvalue() == ""
    assert stream.getvalue().isascii()


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_quiet_shows_nothing(stream: io.StringIO) -> None:
    """--quiet shows nothing anywhere."""
    with progress_display(stream, 1, quiet=True) as shown:
        assert isinstance(shown, NoProgress)
        shown.show(progress(1))
    assert stream.getvalue() == ""
