"""Every family through the whole export: components against torch, fused operators, and the manifest."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from tests.support.export.verified import VERIFIED
from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

# Family -> its name in the manifest, its components, and steps, guidance_scale and max_tokens of its requests.
CLIPS = ("text_encoder", "text_encoder_2")
VAE = ("vae_encoder", "vae_decoder")
QWEN25_VL = ("text_encoder", "vision_encoder")
EXPECTED: dict[str, tuple[str, tuple[str, ...], tuple[int, float, int]]] = {
    "sd15": ("sd", ("text_encoder", *VAE, "unet"), (50, 7.5, 77)),
    "sd21": ("sd", ("text_encoder", *VAE, "unet"), (50, 7.5, 77)),
    "sd_inpaint": ("sd", ("text_encoder", *VAE, "unet"), (50, 7.5, 77)),
    "lcm": ("lcm", ("text_encoder", *VAE, "unet"), (4, 8.5, 77)),
    "sdxl": ("sdxl", (*CLIPS, *VAE, "unet"), (50, 5, 77)),
    "sdxl_turbo": ("sdxl", (*CLIPS, *VAE, "unet"), (1, 0, 77)),
    "playground": ("sdxl", (*CLIPS, *VAE, "unet"), (50, 5, 77)),
    "cosxl": ("sdxl", (*CLIPS, *VAE, "unet"), (50, 5, 77)),
    "sdxl_inpaint": ("sdxl", (*CLIPS, *VAE, "unet"), (50, 5, 77)),
    "sdxl_refiner": ("sdxl_refiner", ("text_encoder_2", *VAE, "unet"), (50, 5, 77)),
    "sd3": ("sd3", (*CLIPS, "text_encoder_3", *VAE, "transformer"), (28, 7, 256)),
    "sd35": ("sd3", (*CLIPS, "text_encoder_3", *VAE, "transformer"), (28, 7, 256)),
    "flux_schnell": ("flux", (*CLIPS, *VAE, "transformer"), (4, 0, 256)),
    "flux_dev": ("flux", (*CLIPS, *VAE, "transformer"), (28, 3.5, 512)),
    "flux_kontext": ("flux_kontext", (*CLIPS, *VAE, "transformer"), (28, 2.5, 512)),
    "flux_fill": ("flux_fill", (*CLIPS, *VAE, "transformer"), (50, 30, 512)),
    "pixart_alpha": ("pixart_alpha", ("text_encoder", *VAE, "transformer"), (20, 4.5, 120)),
    "aura_flow": ("aura_flow", ("text_encoder", *VAE, "transformer"), (50, 3.5, 256)),
    "chroma": ("chroma", ("text_encoder", *VAE, "transformer"), (40, 3, 512)),
    "flux2_klein": ("flux2_klein", ("text_encoder", *VAE, "transformer"), (50, 4, 512)),
    "flux2_dev": ("flux2", ("text_encoder", *VAE, "transformer"), (50, 4, 512)),
    "kolors": ("kolors", ("text_encoder", *VAE, "unet"), (50, 5, 256)),
    "ernie_image": ("ernie_image", ("text_encoder", *VAE, "transformer"), (50, 4, 2048)),
    "krea2": ("krea2", ("text_encoder", *VAE, "transformer"), (28, 4.5, 512)),
    "dreamlite": ("dreamlite", ("text_encoder", *VAE, "unet"), (30, 3.5, 200)),
    "ovis_image": ("ovis_image", ("text_encoder", *VAE, "transformer"), (50, 5, 256)),
    "longcat_image": ("longcat_image", ("text_encoder", *VAE, "transformer"), (50, 4.5, 512)),
    "z_image": ("z_image", ("text_encoder", *VAE, "transformer"), (50, 5, 512)),
    "lumina2": ("lumina2", ("text_encoder", *VAE, "transformer"), (30, 4, 256)),
    "pixart_sigma": ("pixart_sigma", ("text_encoder", *VAE, "transformer"), (20, 4.5, 300)),
    "sana": ("sana", ("text_encoder", *VAE, "transformer"), (20, 4.5, 300)),
    "sana_sprint": ("sana_sprint", ("text_encoder", *VAE, "transformer"), (2, 4.5, 300)),
    "qwen_image": ("qwen_image", ("text_encoder", *VAE, "transformer"), (50, 4, 512)),
    "qwen_image_edit": ("qwen_image_edit", (*QWEN25_VL, *VAE, "transformer"), (50, 4, 1024)),
    "qwen_image_edit_2511": ("qwen_image_edit_plus", (*QWEN25_VL, *VAE, "transformer"), (40, 4, 1024)),
}
# Relative to the largest value; float32 graphs have shown 6e-6 at most.
FLOAT32 = 5e-5
GPU = ("sd21", "sdxl", "sd35", "flux_dev", "z_image", "pixart_sigma", "sana")
# Families whose text does not fit float16.
FLOAT32_TEXT = {"z_image": ("encoder_hidden_states",)}
INT8 = ("sdxl_inpaint", "sd3", "flux_schnell", "sana")


def export_checks(family: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    """Export with all checks, and return the checks by name."""
    assert export.main([str(family), str(out), "--json", *options]) == 0
    return {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}


@pytest.mark.parametrize("family", VERIFIED[("fp32",)])
def test_every_component_equals_torch(family: str, export_result: Callable[..., Any]) -> None:
    """At two sizes, with one row and with three at different timesteps, each output equals torch's."""
    checks = export_result(family).checks
    assert checks.pop("tokenizers")["difference"] == 0
    assert checks.pop("picture")["difference"] <= 2
    assert tuple(checks) == EXPECTED[family][1]
    assert max(check["difference"] for check in checks.values()) < FLOAT32


@pytest.mark.parametrize("family", EXPECTED)
def test_the_manifest_names_the_family_and_its_defaults(family: str, export_result: Callable[..., Any]) -> None:
    """Components, native size, steps, guidance and prompt length are those of the published pipeline."""
    name, components, defaults = EXPECTED[family]
    assert all((export_result(family).folder / component).is_dir() for component in components)
    manifest = json.loads((export_result(family).folder / "tintype.json").read_text())
    found = manifest["defaults"]
    side = 1024 if name == "pixart_alpha" else 128
    assert (manifest["family"], manifest["native_sizes"][0]) == (name, [side, side])
    assert (found["steps"], found["guidance_scale"], manifest["max_tokens"]) == defaults


@pytest.mark.parametrize("family", GPU)
def test_for_gpus_fp16_computes_in_float16(family: str, export_result: Callable[..., Any]) -> None:
    """Graphs are float16 except for time, guidance and positions, and for autoencoders that declare an overflow."""
    made = export_result(family, "fp16", "--target", "gpu")
    denoiser = EXPECTED[family][1][-1]
    assert 1e-5 < made.checks[denoiser]["difference"] < 3e-3
    graph = onnx.load(made.folder / denoiser / "model.onnx").graph
    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in graph.input}
    wide = {"timestep", "guidance", "time_ids", "img_ids", "txt_ids", *FLOAT32_TEXT.get(family, ())}
    floats = {onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT}
    assert {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT} == wide & kinds.keys()
    assert sum(kind in floats for kind in kinds.values()) > len(wide & kinds.keys())
    assert kinds_of_vae(made.folder) == {onnx.TensorProto.FLOAT}


def kinds_of_vae(out: Path) -> set[int]:
    graphs = [onnx.load(out / part / "model.onnx").graph for part in VAE]
    return {graph.input[0].type.tensor_type.elem_type for graph in graphs}


def test_an_autoencoder_that_does_not_overflow_is_float16(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `force_upcast` in the file, as in Stable Diffusion 1.x, the autoencoder is float16."""
    source = shutil.copytree(pipelines("sd15"), tmp_path / "source")
    config = json.loads((source / "vae" / "config.json").read_text())
    del config["force_upcast"]
    (source / "vae" / "config.json").write_text(json.dumps(config))
    checks = export_checks(source, tmp_path / "out", capsys, "--precision", "fp16", "--target", "gpu")
    assert kinds_of_vae(tmp_path / "out") == {onnx.TensorProto.FLOAT16}
    assert 1e-5 < checks["vae_decoder"]["difference"] < 1e-2


@pytest.mark.parametrize("target", ["cpu", "gpu"])
@pytest.mark.parametrize("family", INT8)
def test_int8_takes_a_quarter_and_reports_the_loss(
    family: str,
    target: str,
    export_result: Callable[..., Any],
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every matrix is int8, and each component is as near to the source as eight bits allow."""
    if target == "cpu":
        folder, checks = export_result(family, "int8").folder, export_result(family, "int8").checks
    else:
        folder = tmp_path / "out"
        checks = export_checks(pipelines(family), folder, capsys, "--precision", "int8", "--target", target)
    image = checks.pop("picture")
    assert 1 < image["difference"] < image["limit"]
    assert 1e-3 < max(check["difference"] for check in checks.values()) < 0.1
    graph = onnx.load(folder / EXPECTED[family][1][-1] / "model.onnx").graph
    matrices = [weight for weight in graph.initializer if len(weight.dims) == 2 and len(weight.raw_data) > 4096]
    assert {weight.data_type for weight in matrices} == {onnx.TensorProto.INT8}


def test_sd3_works_without_t5(
    pipelines: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stable Diffusion 3 is also published without its third encoder, half of its weights."""
    import diffusers  # noqa: PLC0415 - imports torch

    whole = diffusers.StableDiffusion3Pipeline.from_pretrained(pipelines("sd3"), text_encoder_3=None, tokenizer_3=None)
    whole.save_pretrained(tmp_path / "source")
    checks = export_checks(tmp_path / "source", tmp_path / "out", capsys)
    assert "text_encoder_3" not in checks
    assert not (tmp_path / "out" / "text_encoder_3").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [({"in_channels": 8}, "in_channels must be 4 or 9; got 8"), ({"class_embed_type": "timestep"}, "class_embed_type")],
)
def test_an_unknown_input_of_the_denoiser_is_refused(
    change: dict[str, Any], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipeline of a known class is refused if its denoiser needs other inputs; the message names the setting."""
    from tintype.export.tiny import parts, unets  # noqa: PLC0415

    unets.sd(parts.unet(**change), unets.sd15().scheduler).save_pretrained(tmp_path / "source")
    assert export.main([str(tmp_path / "source"), str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out.partial").exists()


def test_a_missing_fused_operator_is_an_error(
    pipelines: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If attention is not fused, the export fails with the expected and the actual number."""
    from tintype.export.graph import fused_operators  # noqa: PLC0415

    monkeypatch.setattr(fused_operators, "_attention", fused_operators.torch_attention)
    assert export.main([str(pipelines("sd15")), str(tmp_path / "out")]) == 1
    assert "text_encoder has 0 MultiHeadAttention instead of 3" in capsys.readouterr().err.splitlines()[-1]
