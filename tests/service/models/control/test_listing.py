"""What a model's folder has for its denoiser, and what is skipped, with the reason."""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.control.listing import listing

if TYPE_CHECKING:
    from pathlib import Path

SD = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768, "block_out_channels": [320, 640]}
FLUX = {"_class_name": "FluxTransformer2DModel", "joint_attention_dim": 4096}


def add_control(folder: Path, name: str, class_name: str = "ControlNetModel", **fields: Any) -> None:
    own = folder / "controlnets" / name
    own.mkdir(parents=True)
    (own / "config.json").write_text(json.dumps({"_class_name": class_name, **fields}))
    (own / "diffusion_pytorch_model.safetensors").touch()


def add_image_adapter(folder: Path, name: str) -> None:
    encoder = folder / "image_adapters" / name / "image_encoder"
    encoder.mkdir(parents=True)
    (encoder / "config.json").write_text("{}")
    (encoder / "model.safetensors").touch()
    (encoder.parent / "ip-adapter.safetensors").touch()


def test_what_can_be_used_is_listed_by_name(tmp_path: Path) -> None:
    """Sorted; notes, hidden files and folders are not entries, and a folder may be missing."""
    for name in ("depth", "canny"):
        add_control(tmp_path, name, cross_attention_dim=[768, 768])
    add_image_adapter(tmp_path, "style")
    (tmp_path / "controlnets" / ".cache").mkdir()
    (tmp_path / "controlnets" / "README.md").touch()
    found = listing(tmp_path, SD)
    assert (found.controls, found.image_adapters, found.skipped) == (("canny", "depth"), ("style",), {})
    assert listing(tmp_path / "absent", SD).skipped == {}


@pytest.mark.parametrize(
    ("denoiser", "class_name", "fields", "reason"),
    [
        (SD, "FluxControlNetModel", {}, "made for a FluxTransformer2DModel; this model's denoiser is a UNet2DCond"),
        (FLUX, "ControlNetModel", {}, "made for a UNet2DConditionModel; this model's denoiser is a FluxTransformer"),
        (SD, "ControlNetModel", {"cross_attention_dim": 2048}, "its cross_attention_dim is 2048, this model's is 768"),
        (SD, "ControlNetModel", {"block_out_channels": [320]}, "its block_out_channels is 320, this model's is"),
        (
            FLUX,
            "FluxControlNetModel",
            {"joint_attention_dim": 64},
            "its joint_attention_dim is 64, this model's is 4096",
        ),
        (SD, "T2IAdapter", {}, "_class_name must be ControlNetModel or .*; got T2IAdapter"),
    ],
)
def test_controlnets_of_other_models_are_skipped(
    tmp_path: Path, denoiser: dict[str, Any], class_name: str, fields: dict[str, Any], reason: str
) -> None:
    """By the denoiser that it controls, and by the fields that both have."""
    add_control(tmp_path, "other", class_name, **fields)
    found = listing(tmp_path, denoiser)
    assert found.controls == ()
    assert re.search(reason, found.skipped["controlnets/other"])


def test_fields_that_one_of_both_lacks_are_not_compared(tmp_path: Path) -> None:
    """Folders that optimum exported may have no configuration of the denoiser."""
    add_control(tmp_path, "canny", cross_attention_dim=768, projection_class_embeddings_input_dim=None)
    assert listing(tmp_path, {}).controls == ("canny",)
    assert listing(tmp_path, SD | {"projection_class_embeddings_input_dim": 2816}).controls == ("canny",)


def test_each_entry_that_cannot_be_read_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning for each, with its path and the reason."""
    add_control(tmp_path, "weightless")
    (tmp_path / "controlnets/weightless/diffusion_pytorch_model.safetensors").unlink()
    (tmp_path / "controlnets/empty").mkdir()
    (tmp_path / "controlnets/single.safetensors").touch()
    add_image_adapter(tmp_path, "blind")
    (tmp_path / "image_adapters/blind/image_encoder/config.json").unlink()
    add_image_adapter(tmp_path, "double")
    (tmp_path / "image_adapters/double/another.safetensors").touch()
    (tmp_path / "image_adapters/file.bin").touch()
    found = listing(tmp_path, SD)
    assert (found.controls, found.image_adapters) == ((), ())
    with caplog.at_level(logging.WARNING):
        found.log_skipped("sd")
    texts = [record.getMessage() for record in caplog.records]
    expected = {
        "controlnets/empty": "empty/config.json is missing",
        "controlnets/single.safetensors": "it must be a folder with config.json",
        "controlnets/weightless": "weightless/ has no diffusion_pytorch_model.safetensors",
        "image_adapters/blind": "image_encoder/config.json is missing",
        "image_adapters/double": "it must have one .safetensors file; it has 2",
        "image_adapters/file.bin": "it must be a folder with a .safetensors file",
    }
    assert len(texts) == len(expected)
    for text, (path, reason) in zip(texts, expected.items(), strict=True):
        assert text.startswith(f"model sd: {path} is skipped: {reason}")


def test_image_adapters_are_for_unets(tmp_path: Path) -> None:
    """A model with a transformer lists none."""
    add_image_adapter(tmp_path, "style")
    found = listing(tmp_path, FLUX)
    assert found.image_adapters == ()
    assert "this model's denoiser is a FluxTransformer2DModel" in found.skipped["image_adapters/style"]
