"""The whole export, as its users run it: what it leaves behind when it goes well, and when it does not."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_what_it_writes_is_verified_and_told(
    precision: str, pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each component and a picture are compared with the source; the result is told as JSON, the way as text."""
    arguments = [str(pipelines("sd15")), str(tmp_path / "out"), "--precision", precision, "--name", "mine", "--json"]
    assert export.main(arguments) == 0
    told, way = capsys.readouterr()
    result = json.loads(told)
    assert result["name"] == "mine"
    checks = {check["name"]: check["difference"] for check in result["checks"]}
    assert checks.keys() == {"text_encoder", "unet", "vae_encoder", "vae_decoder", "picture"}
    assert all(check["difference"] <= check["limit"] for check in result["checks"])
    for stage in ("reading", "exporting unet", "fitting previews", "comparing a picture"):
        assert stage in way
    assert "one timestep per row" in way


def test_the_service_reads_it(exported: Callable[..., Path]) -> None:
    """The manifest says what the service's own reader understands, and the hashes are those of the files."""
    from tintype.service.models import manifest  # noqa: PLC0415

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
    import torch  # noqa: PLC0415

    from tintype.export import tiny, verify  # noqa: PLC0415

    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = tiny.sd15()
    checks = list(verify.check_components(other, exported("sd15")))
    assert [check.name for check in checks if check.passed] == []


def test_what_is_not_faithful_does_not_arrive(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When a check fails the exit code is 1, OUT is as it was, and the message names the check and the remains."""
    from tintype.export import verify  # noqa: PLC0415

    monkeypatch.setattr(verify, "COMPONENT_LIMIT", 0.0)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").touch()
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out"), "--force"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "unet" in error
    assert "out.partial" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_force_replaces(exported: Callable[..., Path], pipelines: Callable[[str], Path], tmp_path: Path) -> None:
    """With --force nothing of what was there is left, and what arrives is the same from run to run."""
    out = tmp_path / "sd15-fp32"
    out.mkdir()
    (out / "stray").touch()
    assert export.main([str(pipelines("sd15")), str(out), "--force", "--no-verify"]) == 0
    manifests = [json.loads((folder / "tintype.json").read_text()) for folder in (out, exported("sd15"))]
    assert manifests[0] == manifests[1]
    assert not (out / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sd15-fp32"]


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


def test_missing_weights_are_told_in_a_line(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source without the weights of a component is refused by diffusers' word, not by its traceback."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    (source / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert export.main([str(source), str(tmp_path / "out")]) == 2
    assert "can't be read by diffusers" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("options", "why"), [({"in_channels": 9}, "inpainting"), ({"time_cond_proj_dim": 32}, "LCM")])
def test_a_relative_of_the_family_is_refused(
    options: dict[str, int], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline of a known class whose denoiser wants more than is given to it is refused before it is exported."""
    from tintype.export.tiny import parts, unets  # noqa: PLC0415

    unets.sd(parts.unet(**options), unets.sd15().scheduler).save_pretrained(tmp_path / "source")
    assert export.main([str(tmp_path / "source"), str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err.splitlines()[-1]
