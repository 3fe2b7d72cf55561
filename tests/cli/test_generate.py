"""What `tintype generate` asks the service for."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tintype.cli import main
from tintype.cli.generate import request_of
from tintype.cli.parser import _parser as parser

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.slow


def test_a_picture_to_start_from_goes_with_the_request(tmp_path: Path) -> None:
    """The bytes of --image and --mask are sent as they are, with the strength."""
    picture, mask = tmp_path / "a.png", tmp_path / "m.png"
    picture.write_bytes(b"picture")
    mask.write_bytes(b"mask")
    flags = ["generate", "x", "--image", str(picture), "--mask", str(mask), "--strength", "0"]
    request = request_of(parser().parse_args(flags))
    assert (request.image, request.mask) == (b"picture", b"mask")
    assert request.HasField("strength")
    assert request.strength == 0


def test_names_go_with_the_request() -> None:
    """Sampler, schedule, quality and style are sent as they are typed; which there are, the model knows."""
    flags = ["--sampler", "euler", "--schedule", "karras", "--quality", "low", "--style", "vivid"]
    request = request_of(parser().parse_args(["generate", "x", *flags]))
    assert (request.sampler, request.schedule) == ("euler", "karras")
    assert (request.quality, request.style) == ("low", "vivid")


def test_without_a_picture_nothing_is_said_of_one() -> None:
    """The service's own default of strength stays its own."""
    request = request_of(parser().parse_args(["generate", "x"]))
    assert not request.image
    assert not request.HasField("strength")


def test_an_image_on_stdout(tmp_path: Path) -> None:
    """`-o -` writes the bytes of a PNG and nothing else to stdout, and makes no file."""
    words = [sys.executable, "-P", "-m", "tintype.cli", "generate", "a lake", "--steps", "1", "-o", "-"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(BytesIO(done.stdout)) as image:
        image.load()
        assert image.format == "PNG"
    assert b"-: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_no_image(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of an image would only disturb a terminal: that is refused before anything is made."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["generate", "x", "-o", "-"]) == 2
    assert "does not write an image to a terminal; redirect stdout" in capsys.readouterr().err
