"""The request of `tintype generate`, and images on stdout."""

from __future__ import annotations

import errno
import subprocess
import sys
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tintype.cli import main
from tintype.cli.commands import build_parser
from tintype.cli.generation.local import is_source, local_service
from tintype.cli.generation.prompts import read_prompts
from tintype.cli.generation.request import build_request
from tintype.cli.settings.sources import Sources

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.v1 import image_service_pb2 as pb


pytestmark = pytest.mark.slow


def request_of(*words: str) -> pb.GenerateImagesRequest:
    (entry,) = read_prompts(vars(build_parser().parse_args(words)))
    return build_request(entry.values)


def test_init_image_and_mask_are_sent(tmp_path: Path) -> None:
    """The bytes of --image and --mask are sent unchanged, with the strength."""
    image, mask = tmp_path / "a.png", tmp_path / "m.png"
    image.write_bytes(b"image")
    mask.write_bytes(b"mask")
    flags = ["generate", "x", "--image", str(image), "--mask", str(mask), "--strength", "0"]
    request = request_of(*flags)
    assert (request.image, request.mask) == (b"image", b"mask")
    assert request.HasField("strength")
    assert request.strength == 0


def test_names_are_sent_unchanged() -> None:
    """Sampler, schedule, quality and style are sent unchanged; the service checks them."""
    flags = ["--sampler", "euler", "--schedule", "karras", "--quality", "low", "--style", "vivid"]
    request = request_of("generate", "x", *flags)
    assert (request.sampler, request.schedule) == ("euler", "karras")
    assert (request.quality, request.style) == ("low", "vivid")


def test_adapters_are_sent() -> None:
    """Adapters have weights of either sign, or that of the service; a name may contain a colon."""
    words = ["--lora", "film:0.5", "--lora", "pen:-1", "--lora", "a:b", "--lora", "ink", "--embedding", "style"]
    request = request_of("generate", "x", *words)
    expected = [("film", 0.5), ("pen", -1), ("a:b", None), ("ink", None)]
    assert [(lora.name, lora.weight if lora.HasField("weight") else None) for lora in request.loras] == expected
    assert request.embeddings == ["style"]


def test_strength_is_sent_only_with_an_image() -> None:
    """Without --image neither image nor strength is set, so the service's default applies."""
    request = request_of("generate", "x")
    assert not request.image
    assert not request.HasField("strength")


def test_stdout_gets_only_the_image(tmp_path: Path) -> None:
    """`-o -` writes the bytes of a PNG and nothing else to stdout, and makes no file."""
    words = [sys.executable, "-P", "-m", "tintype.cli", "generate", "a lake", "--steps", "1", "-o", "-"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with Image.open(BytesIO(done.stdout)) as image:
        image.load()
        assert image.format == "PNG"
    assert b"-: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_image_is_not_written_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bytes of an image are not written to a terminal; the command fails before it makes the image."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["generate", "x", "-o", "-"]) == 2
    assert "does not write an image to a terminal; redirect stdout" in capsys.readouterr().err


def test_file_that_is_missing_is_not_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of weights that does not exist is reported as a file, not as the name of a model."""
    arguments = ["generate", "x", "--model", "none.safetensors", "-o", str(tmp_path / "x.png")]
    assert main(arguments) == 2
    assert "there is no folder or file none.safetensors" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "a", "--model", "b"], "generate takes one --model; see"),
        (["--model", ""], "--model must not be empty"),
        (["--model", "sd-turbo"], "did you mean stabilityai/sd-turbo?"),
        (["--model", "owner/name/model.ckpt"], ".ckpt files are pickles, which are not read"),
    ],
)
def test_models_that_cannot_be_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], expected: str
) -> None:
    """One model makes the images, and it is named as it is on the hub."""
    monkeypatch.chdir(tmp_path)
    assert main(["generate", "x", *flags]) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_not_looked_at_to_tell_it_from_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lead through a folder without rights; the service names that as the fault of the model."""

    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    assert is_source("closed/model.safetensors")


def test_model_from_the_hub_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OWNER/NAME is downloaded, and the request names no model, because the service in this process has only this."""
    monkeypatch.setattr("tintype.cli.pull.resolve_model", lambda text, **_: tmp_path / text)
    sources = Sources(flags={"data": str(tmp_path)})
    config, name = local_service(sources, "owner/name")
    assert (config.models, name) == ((tmp_path / "owner" / "name",), "")
    config, name = local_service(sources, "sdxl")
    assert (config.models, name) == ((), "sdxl")
