"""The whole export as users run it: the files that it leaves on success and on failure."""

from __future__ import annotations

import errno
import json
import os
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_export_is_verified_and_reported(precision: str, export_result: Callable[..., Any]) -> None:
    """Tokenizers, each component and an image are compared with the source; the result is JSON, the progress text."""
    made = export_result("sd15", precision)
    assert (made.result["name"], made.result["precision"]) == ("sd15", precision)
    assert made.checks.keys() == {"tokenizers", "text_encoder", "unet", "vae_encoder", "vae_decoder", "picture"}
    assert all(check["difference"] <= check["limit"] for check in made.checks.values())
    for stage in ("reading", "exporting unet", "fitting previews", "comparing an image"):
        assert stage in made.progress


def test_the_service_reads_an_export(exported: Callable[..., Path]) -> None:
    """The service's own reader accepts the manifest, and the hashes are those of the files."""
    from tintype.service.models.folder import reader  # noqa: PLC0415

    folder = exported("sd21")
    assert reader.verify(folder) == []
    spec = reader.read_manifest(folder).spec
    assert (spec.name, spec.family, spec.precision) == ("sd21", "sd", "fp32")
    assert (spec.native_sizes, spec.size_multiple, spec.downscale) == (((128, 128),), 16, 8)
    assert spec.batched_timestep
    assert spec.latent_to_rgb is not None
    assert (spec.diffusion.prediction.value, spec.diffusion.sampler) == ("v", "ddim")


def test_no_file_contains_the_source_path(exported: Callable[..., Path], pipelines: Callable[[str], Path]) -> None:
    """No file of the folder holds the path of the source."""
    place = str(pipelines("sd15").parent).encode()
    assert [f.name for f in exported("sd15").rglob("*") if f.is_file() and place in f.read_bytes()] == []


def test_only_the_authors_settings_are_passed_on(exported: Callable[..., Path]) -> None:
    """Without a timestep spacing in the source, the export has none either."""
    noise = json.loads((exported("sd15") / "scheduler" / "scheduler_config.json").read_text())
    assert noise["steps_offset"] == 1
    assert "timestep_spacing" not in noise


def test_other_weights_fail_the_comparison(exported: Callable[..., Path]) -> None:
    """The comparison of components notices other weights, in every component."""
    from tintype.export import families, verify  # noqa: PLC0415
    from tintype.export.components import registry  # noqa: PLC0415
    from tintype.export.tiny.pipelines import random_pipeline  # noqa: PLC0415

    other = random_pipeline("sd15", seed=1)
    (family,) = (family for family in families.FAMILIES if family.name == "sd")
    for component in (made for part in family.parts for made in registry.components(other, family, part)):
        path = exported("sd15") / component.folder / "model.onnx"
        assert not verify.check_component(component, path, 1e-2).passed


def test_a_failed_check_leaves_the_target_unchanged(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code is 1, OUT is unchanged, and the message names the check and the partial folder."""
    from tintype.export import verify  # noqa: PLC0415

    check = verify.check_component
    monkeypatch.setattr(verify, "check_component", lambda component, path, _: check(component, path, 0.0))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--force"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "text_encoder" in error
    assert "out.partial" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_force_replaces_the_whole_folder(
    exported: Callable[..., Path], pipelines: Callable[[str], Path], tmp_path: Path
) -> None:
    """With --force nothing of the old folder is left, and repeated exports are equal."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "stray").touch()
    assert export.main([str(pipelines("sd15")), str(out), "--force", "--no-verify"]) == 0
    manifests = [json.loads((folder / "tintype.json").read_text()) for folder in (out, exported("sd15"))]
    assert manifests[0] == manifests[1]
    assert not (out / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_missing_space_is_reported_before_it_is_used(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk without enough space is refused with both numbers, and nothing is left on it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out")]) == 2
    assert "MB needed, 2 MB free" in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_reported_in_one_line(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message has the system's error; finished components are kept and need no space again."""
    from tintype.export.graph import weights  # noqa: PLC0415

    write = weights.write

    def full(model: Any, parameters: Any, path: Path, **options: Any) -> int:
        if path.parent.name == "vae_encoder":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(model, parameters, path, **options)

    monkeypatch.setattr(weights, "write", full)
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--no-verify"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in error
    assert f"stay in {tmp_path / 'out'}.partial, and the same command continues there" in error
    assert (tmp_path / "out.partial" / "text_encoder" / "model.onnx").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))  # enough for the rest only
    monkeypatch.setattr(weights, "write", write)
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--no-verify"]) == 0


def test_an_interrupted_export_continues(
    pipelines: Callable[[str], Path],
    exported: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Components written and verified before the interruption are kept, and the result equals that of one run."""
    from tintype.export import verify  # noqa: PLC0415

    arguments = [str(pipelines("sd15")), str(tmp_path / "out"), "--name", "mine"]
    check = verify.check_component

    def interrupted(component: Any, path: Path, limit: float) -> verify.Check:
        if component.folder == "vae_decoder":
            raise KeyboardInterrupt
        return check(component, path, limit)

    with monkeypatch.context() as patch:
        patch.setattr(verify, "check_component", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export.main(arguments)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out.partial" / "vae_encoder" / "model.onnx").write_bytes(b"damaged since")
    capsys.readouterr()
    assert export.main([*arguments, "--json"]) == 0
    output, progress = capsys.readouterr()
    assert "exporting text_encoder" not in progress
    assert "exporting vae_encoder" in progress, "a changed component is written again"
    assert "exporting vae_decoder" in progress
    assert {check["name"] for check in json.loads(output)["checks"]} >= {"text_encoder", "unet", "picture"}
    resumed, whole = (json.loads((at / "tintype.json").read_text()) for at in (tmp_path / "out", exported("sd15")))
    assert resumed == whole | {"name": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_options_start_again(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partial exports of another source, or with other options, are not used."""
    from tintype.export import resume, source  # noqa: PLC0415

    found = source.find_source(str(pipelines("sd15")))
    partial = resume.PartialExport.open(tmp_path / "out.partial", resume.export_key(found, {"precision": "int8"}))
    (partial.folder / "text_encoder").mkdir()
    partial.add("text_encoder", None)
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--no-verify"]) == 0
    assert "exporting text_encoder" in capsys.readouterr().err


def test_all_faults_are_reported_at_once(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line names each fault of a source by its file, before any weights are read."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    (source / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (source / "vae" / "config.json").write_text("{")
    shutil.rmtree(source / "scheduler")
    weights = source / "text_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (source / "tokenizer" / "merges.txt").unlink()
    assert export.main([str(source), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    for fault in (
        "unet/ has no diffusion_pytorch_model.safetensors",
        "vae/config.json is not valid JSON",
        "scheduler/ is missing",
        "text_encoder/model.safetensors is truncated",
        "tokenizer/ has no merges.txt",
    ):
        assert fault in error
    assert not (tmp_path / "out").exists()


def test_a_reading_error_of_diffusers_is_one_line(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error found only by reading has diffusers' message without its traceback, and nothing is left."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    (source / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "block_out_channels": [7]}')
    assert export.main([str(source), str(tmp_path / "out")]) == 2
    assert "cannot be read by diffusers" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("scheduler/scheduler_config.json", {"skip_prk_steps": False}, "skip_prk_steps False is not supported"),
    ],
)
def test_unsupported_settings_are_refused_before_weights_are_read(
    file: str,
    change: dict[str, Any],
    why: str,
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A setting that no sampler supports, or latents normalised per channel: one line."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    (source / file).write_text(json.dumps(json.loads((source / file).read_text()) | change))
    assert export.main([str(source), str(tmp_path / "out"), "--no-verify"]) == 2
    progress = capsys.readouterr().err.splitlines()
    assert why in progress[-1]
    assert not any("text_encoder ..." in line for line in progress)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
