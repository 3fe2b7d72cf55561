"""The whole export, as its users run it: what it leaves behind when it goes well, and when it does not."""

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
def test_what_it_writes_is_verified_and_told(precision: str, told: Callable[..., Any]) -> None:
    """Tokenizers, each component and an image are compared with the source; the result is JSON, the way text."""
    made = told("sd15", precision)
    assert (made.result["name"], made.result["precision"]) == ("sd15", precision)
    assert made.checks.keys() == {"tokenizers", "text_encoder", "unet", "vae_encoder", "vae_decoder", "picture"}
    assert all(check["difference"] <= check["limit"] for check in made.checks.values())
    for stage in ("reading", "exporting unet", "fitting previews", "comparing a picture"):
        assert stage in made.way


def test_the_service_reads_it(exported: Callable[..., Path]) -> None:
    """The manifest says what the service's own reader understands, and the hashes are those of the files."""
    from tintype.service.models.folder import manifest  # noqa: PLC0415

    folder = exported("sd21")
    assert manifest.verify(folder) == []
    spec = manifest.read(folder).spec
    assert (spec.name, spec.family, spec.precision) == ("sd21", "sd", "fp32")
    assert (spec.native_sizes, spec.size_multiple, spec.downscale) == (((128, 128),), 16, 8)
    assert spec.batched_timestep
    assert spec.latent_to_rgb is not None
    assert (spec.diffusion.prediction.value, spec.diffusion.sampler) == ("v", "ddim")


def test_nothing_tells_where_it_was_made(exported: Callable[..., Path], pipelines: Callable[[str], Path]) -> None:
    """No file of the folder holds the path of the source."""
    place = str(pipelines("sd15").parent).encode()
    assert [f.name for f in exported("sd15").rglob("*") if f.is_file() and place in f.read_bytes()] == []


def test_only_what_the_author_set_is_passed_on(exported: Callable[..., Path]) -> None:
    """The spacing of timesteps, where the source leaves it to the sampler, is left to it still."""
    noise = json.loads((exported("sd15") / "scheduler" / "scheduler_config.json").read_text())
    assert noise["steps_offset"] == 1
    assert "timestep_spacing" not in noise


def test_another_model_is_not_taken_for_it(exported: Callable[..., Path]) -> None:
    """The comparison of components notices other weights, in every component."""
    from tintype.export import families, verify  # noqa: PLC0415
    from tintype.export.components import registry  # noqa: PLC0415
    from tintype.export.tiny.pipelines import random_pipeline  # noqa: PLC0415

    other = random_pipeline("sd15", seed=1)
    (family,) = (family for family in families.FAMILIES if family.name == "sd")
    for component in (made for part in family.parts for made in registry.components(other, family, part)):
        path = exported("sd15") / component.folder / "model.onnx"
        assert not verify.check_component(component, path, 1e-2).passed


def test_what_is_not_faithful_does_not_arrive(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a check fails the exit code is 1, OUT is as it was, and the message names the check and the remains."""
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


def test_force_replaces(exported: Callable[..., Path], pipelines: Callable[[str], Path], tmp_path: Path) -> None:
    """With --force nothing of what was there is left, and what arrives is the same from run to run."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "stray").touch()
    assert export.main([str(pipelines("sd15")), str(out), "--force", "--no-verify"]) == 0
    manifests = [json.loads((folder / "tintype.json").read_text()) for folder in (out, exported("sd15"))]
    assert manifests[0] == manifests[1]
    assert not (out / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_no_space_is_told_before_it_is_used(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that is too full is refused with both numbers, and nothing is left on it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2_000_000))
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out")]) == 2
    assert "MB are needed, 2 MB are free" in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_told_in_a_line(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others write to it too: what the system says, and that what is done is kept, and needs no space again."""
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
    assert f"stays in {tmp_path / 'out'}.partial, and the same command goes on there" in error
    assert (tmp_path / "out.partial" / "text_encoder" / "model.onnx").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5_000_000))  # enough but for all of it
    monkeypatch.setattr(weights, "write", write)
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--no-verify"]) == 0


def test_an_interrupted_export_goes_on(
    pipelines: Callable[[str], Path],
    exported: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was written and verified before an interruption is kept, and what comes of it is the same as in one go."""
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
    told, way = capsys.readouterr()
    assert "exporting text_encoder" not in way
    assert "exporting vae_encoder" in way, "what is not as it was is written again"
    assert "exporting vae_decoder" in way
    assert {check["name"] for check in json.loads(told)["checks"]} >= {"text_encoder", "unet", "picture"}
    resumed, whole = (json.loads((at / "tintype.json").read_text()) for at in (tmp_path / "out", exported("sd15")))
    assert resumed == whole | {"name": "mine"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_options_begin_anew(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Remains of another source, or of other options, are not taken for what is asked."""
    from tintype.export import resume, source  # noqa: PLC0415

    found = source.find(str(pipelines("sd15")))
    remains = resume.Remains.open(tmp_path / "out.partial", resume.key_of(found, {"precision": "int8"}))
    (remains.folder / "text_encoder").mkdir()
    remains.add("text_encoder", None)
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--no-verify"]) == 0
    assert "exporting text_encoder" in capsys.readouterr().err


def test_what_is_missing_is_told_all_at_once(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault of a source is named by its file, in one line, before anything is read."""
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
        "vae/config.json is not JSON",
        "scheduler/ is missing",
        "text_encoder/model.safetensors is cut off",
        "tokenizer/ has no merges.txt",
    ):
        assert fault in error
    assert not (tmp_path / "out").exists()


def test_what_diffusers_can_not_read_is_told_in_a_line(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only the reading shows is told by diffusers' word, not by its traceback, and nothing is left."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    (source / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "block_out_channels": [7]}')
    assert export.main([str(source), str(tmp_path / "out")]) == 2
    assert "can't be read by diffusers" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("file", "change", "why"),
    [
        ("scheduler/scheduler_config.json", {"skip_prk_steps": False}, "skip_prk_steps False is not supported"),
        ("vae/config.json", {"latents_mean": [0.0] * 4}, "vae/config.json: latents_mean can't be served"),
    ],
)
def test_what_the_service_would_refuse_is_refused_before_weights_are_read(
    file: str,
    change: dict[str, Any],
    why: str,
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A setting that no sampler here follows, or latents that nobody would put right: in a line."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    (source / file).write_text(json.dumps(json.loads((source / file).read_text()) | change))
    assert export.main([str(source), str(tmp_path / "out"), "--no-verify"]) == 2
    way = capsys.readouterr().err.splitlines()
    assert why in way[-1]
    assert not any("text_encoder ..." in line for line in way)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
