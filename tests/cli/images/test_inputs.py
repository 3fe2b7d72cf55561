"""Images that `tintype generate` sends: references, controls, image prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.cli import main
from tintype.cli.commands import build_parser
from tintype.cli.generation.prompts import read_prompts
from tintype.cli.generation.request import build_request
from tintype.cli.images.inputs import ImageSpec, parse_image_spec
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path


def request_of(*flags: str) -> pb.GenerateImagesRequest:
    (entry,) = read_prompts(vars(build_parser().parse_args(["generate", "x", *flags])))
    return build_request(entry.values)


def test_references_are_sent_in_order(tmp_path: Path) -> None:
    """The files of repeated --reference are sent unchanged, in their order, without an image to start from."""
    files = [tmp_path / f"{name}.png" for name in "ba"]
    for file in files:
        file.write_bytes(file.stem.encode())
    request = request_of("--reference", str(files[0]), "--reference", str(files[1]))
    assert (list(request.references), request.image) == ([b"b", b"a"], b"")


def test_controls_and_image_prompts_are_sent(tmp_path: Path) -> None:
    """ControlNets and image prompts are sent with their images; what is left out is the service's default."""
    file = tmp_path / "edges.png"
    file.write_bytes(b"edges")
    flags = ["--control", f"canny={file}:0.5:0.25-0.75", "--control", f"depth={file}"]
    request = request_of(*flags, "--image-prompt", f"ip={file}:0.5", "--clip-skip", "1")
    assert list(request.controls) == [
        pb.Control(name="canny", image=b"edges", weight=0.5, start=0.25, end=0.75),
        pb.Control(name="depth", image=b"edges"),
    ]
    assert list(request.image_prompts) == [pb.ImagePrompt(name="ip", image=b"edges", weight=0.5)]
    assert request.clip_skip == 1
    assert not request_of().HasField("clip_skip")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("canny=a.png", ImageSpec("canny", "a.png")),
        ("org/canny=a=b.png:1", ImageSpec("org/canny", "a=b.png", 1)),
        ("canny=C:/a.png:.5:0-1", ImageSpec("canny", "C:/a.png", 0.5, 0, 1)),
        ("canny=a:b", ImageSpec("canny", "a:b")),
        ("canny=a:0-1", ImageSpec("canny", "a:0-1")),
    ],
)
def test_parts_of_a_control(text: str, expected: ImageSpec) -> None:
    """The weight and the range follow the file, which may contain colons."""
    assert parse_image_spec("control", text, has_range=True) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--control", "canny"], "--control must be NAME=FILE[:WEIGHT[:START-END]], for example canny=edges.png:0.8"),
        (["--control", "=a.png"], "got '=a.png'"),
        (["--control", "canny=:1"], "--control canny names no file"),
        (["--control", "canny=a.png:3"], "--control canny: the weight must be 0 to 2; got 3"),
        (["--control", "canny=a.png:1:0-1.5"], "--control canny: the range must be 0 to 1; got 1.5"),
        (["--control", "canny=a.png:1:0.5-0.5"], "the range must end after it starts; got 0.5-0.5"),
        (["--control", "canny=none.png"], "--control: cannot read none.png"),
        (["--control", "canny=none.png:abc"], "No such file or directory; the form is NAME=FILE[:WEIGHT[:START-END]]"),
        (["--image-prompt", "ip=none.png:1:0-1"], "--image-prompt: cannot read none.png:1:0-1"),
        (["--image-prompt", "ip=none.png:abc"], "No such file or directory; the form is NAME=FILE[:WEIGHT]"),
        (["--reference", "none.png"], "--reference: cannot read none.png"),
        (["--reference", "none.png"] * 17, "--reference may be given at most 16 times; got 17"),
        (["--control", "a=b"] * 5, "--control may be given at most 4 times; got 5"),
        (["--clip-skip", "12"], "--clip-skip must be 0 to 11; got 12"),
        (["--clip-skip", "x"], "--clip-skip must be a"),
    ],
)
def test_wrong_flags_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    """An error names the flag, the value and what would be right, before a model is loaded."""
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "x", *flags]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_all_images_together_are_limited(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files that are too large for one request are refused before they are sent."""
    file = tmp_path / "large.png"
    with file.open("wb") as opened:
        opened.truncate(40_000_000)
    assert main(["generate", "x", "--reference", str(file), "--reference", str(file)]) == 2
    assert "all images together must have at most 64000000 bytes; got 80000000" in capsys.readouterr().err
