"""Reading a source: its outline without weights, its parts one after the other, and a hub repository."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

COMMIT = "5" * 40


def test_an_outline_is_the_pipeline_without_its_weights(pipelines: Callable[[str], Path]) -> None:
    """Every part has the class, configuration and shapes of the full pipeline, but no weights."""
    from tintype.export.pipeline import PipelineReader  # noqa: PLC0415
    from tintype.export.source import find_source  # noqa: PLC0415

    reader = PipelineReader(find_source(str(pipelines("sd3"))))
    outline, whole = reader.read_outline(), reader.read_whole()
    assert reader.parts == ("text_encoder", "text_encoder_2", "text_encoder_3", "vae", "transformer")
    for part in reader.parts:
        bare, full = getattr(outline, part), getattr(whole, part)
        assert type(bare) is type(full)
        assert shapes(bare) == shapes(full)
        assert {weight.device.type for weight in bare.parameters()} == {"meta"}
        assert all(map(torch.equal, reader.read_part(part).parameters(), full.parameters()))


def shapes(module: Any) -> dict[str, Any]:
    return {name: weight.shape for name, weight in module.named_parameters()}


def test_one_part_is_in_memory_at_a_time(
    pipelines: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a part is read, all earlier parts are released, so that a source may be larger than the memory."""
    from tintype.export.pipeline import PipelineReader  # noqa: PLC0415

    read: dict[str, weakref.ref[Any]] = {}
    read_part = PipelineReader.read_part

    def watched(reader: PipelineReader, name: str) -> Any:
        gc.collect()
        assert [earlier for earlier, module in read.items() if module()] == []
        module = read_part(reader, name)
        read[name] = weakref.ref(module)
        return module

    monkeypatch.setattr(PipelineReader, "read_part", watched)
    assert export.main([str(pipelines("sdxl")), str(tmp_path / "out"), "--precision", "fp16"]) == 0
    assert read.keys() == {"text_encoder", "text_encoder_2", "vae", "unet"}


def test_without_memory_the_image_check_can_be_skipped(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the whole pipeline cannot be read, finished components stay, and `--no-image` continues from there."""
    from tintype.export.pipeline import PipelineReader  # noqa: PLC0415

    def no_memory(_: PipelineReader) -> Any:
        raise MemoryError

    arguments = ["--name", "it", str(pipelines("sd15")), str(tmp_path / "out")]
    monkeypatch.setattr(PipelineReader, "read_whole", no_memory)
    with pytest.raises(MemoryError):
        export.main(arguments)
    capsys.readouterr()
    assert export.main([*arguments, "--no-image", "--json"]) == 0
    output, progress = capsys.readouterr()
    assert "reading unet" not in progress
    checks = {check["name"] for check in json.loads(output)["checks"]}
    assert checks == {"tokenizers", "text_encoder", "unet", "vae_encoder", "vae_decoder"}
    assert json.loads((tmp_path / "out" / "tintype.json").read_text())["files"].keys() >= {"unet/model.onnx"}
    assert not (tmp_path / "out" / "export.json").exists()


def test_a_repository_is_exported_like_a_folder(exported: Callable[..., Path], pipelines: Any, tmp_path: Path) -> None:
    """A hub id, here downloaded before and used without a network, gives the same files."""
    repository = tmp_path / "home" / "hub" / "models--owner--sd15"
    shutil.copytree(pipelines("sd15"), repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [str(Path(sys.executable).with_name("tintype")), "export", "owner/sd15", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--no-verify"],
        env=os.environ | home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifests = [json.loads((folder / "tintype.json").read_text()) for folder in (tmp_path / "out", exported("sd15"))]
    for manifest in manifests:
        del manifest["preview"]  # in this process it is fitted on fewer latents: `pipelines`
    assert manifests[0] == manifests[1]
