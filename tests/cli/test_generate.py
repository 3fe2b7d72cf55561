"""What `tintype generate` asks the service for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.cli.generate import request_of
from tintype.cli.parser import _parser as parser

if TYPE_CHECKING:
    from pathlib import Path


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
