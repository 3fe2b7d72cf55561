"""What a run of several prompts says while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tintype.cli.generation.report import RunEvent, RunText, describe, shorten, summary
from tintype.v1 import image_service_pb2 as pb


def step(index: int, number: int, *, image: int = 0) -> RunEvent:
    return RunEvent(index, 2, pb.StreamImagesResponse(progress=pb.Progress(index=image, step=number, steps=10)))


def done(index: int, image: int) -> RunEvent:
    return RunEvent(index, 2, pb.StreamImagesResponse(image=pb.Image(index=image)))


def test_progress_is_over_all_images() -> None:
    """The bar has the steps of all prompts, the number is that of finished images, and failures are counted."""
    seconds = iter(range(100))
    text = RunText(6, lambda: float(next(seconds)))
    loading = pb.StreamImagesResponse(loading=pb.Loading(model="sdxl", fraction=0.5))
    assert text.line(RunEvent(0, 2, loading)) == "loading sdxl: 50%"
    assert text.line(RunEvent(1, 2, loading)) == ""
    assert text.line(step(0, 5)).endswith("░ 0/6 images, 1 s")
    assert text.line(step(1, 10)) == "█" * 8 + "░" * 22 + " 0/6 images, 2 s, 6 s to go"
    assert text.line(done(1, 0)).endswith(" 1/6 images, 3 s, 9 s to go")
    assert text.line(RunEvent(2, 2, None)).endswith(" 1/6 images, 1 failed, 4 s, 3 s to go")
    for index, image in ((0, 0), (0, 1), (1, 1)):
        line = text.line(done(index, image))
    assert line == "█" * 30 + " 4/6 images, 1 failed, 7 s"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((20, 20, 0, 0), "20 images in 1.5 s"),
        ((1, 3, 2, 0), "1 image in 1.5 s, 2 of 3 prompts failed"),
        ((0, 9, 0, 9), "0 images in 1.5 s, 9 of 9 prompts not finished"),
    ],
)
def test_summary(counts: tuple[int, int, int, int], expected: str) -> None:
    """The last line says how many images were made, and what is missing."""
    assert summary(*counts, 1.5) == expected


def test_prompts_do_not_control_the_terminal() -> None:
    """A prompt in a line is short, and has no control characters."""
    assert shorten("a\x1b[2J\nlake\u202e") == "a?[2J lake?"
    assert len(shorten("word " * 100_000)) == 60
    line = describe(pb.Image(width=8, height=4, seed=7), Path("x.png"), "a\x07 lake")
    assert line == "x.png: 8x4, seed 7, 0.0 s, a? lake"
