"""`--model OWNER/NAME`: an image from a model of the hub, and again without the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.support.command import tintype
from tests.support.service.fake_hub import FakeHub
from tintype.service.models.residency.catalogue import BUILTIN

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

FILES = {path.relative_to(BUILTIN).as_posix(): path.read_bytes() for path in BUILTIN.rglob("*") if path.is_file()}


def test_an_image_with_and_without_the_hub(tmp_path: Path) -> None:
    """`up` downloads the model before its servers start; later another command needs no hub for it."""
    where = ("--rest", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data", str(tmp_path / "data"))
    common = ("--threads", "1", "--model", "owner/name", "-o")
    with FakeHub(FILES) as hub:
        variables = {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": hub.url, "HF_TOKEN": "", "HF_HUB_OFFLINE": ""}
        done = tintype("up", "--check", *where, *common, str(tmp_path / "one.png"), **variables)
        assert done.returncode == 0, done.stderr
        assert "owner/name at c0ffee000000: 14 files, " in done.stderr
        assert "owner/name" in done.stdout
    done = tintype("generate", "A lake", "--steps", "1", *common, str(tmp_path / "two.png"), **variables)
    assert done.returncode == 0, done.stderr
    assert "; using the files of commit c0ffee000000, which are in the cache" in done.stderr
    for name in ("one.png", "two.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size == (256, 256)
    assert next((tmp_path / "hf").rglob("snapshots/*/unet/model.onnx")).is_symlink()
