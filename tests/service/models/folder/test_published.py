"""A folder of published weights: the class of a component is that of both files."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tintype.service.models.families.table import FAMILIES
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.published import PublishedFolder
from tintype.service.models.loading_options import DEFAULTS, Precision

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.service.models.family import Family


def refusal(folder: Path, family: Family, named: str, own: object, library: str = "diffusers") -> str:
    """Return why a folder with a denoiser of no tensors is refused: its classes, or the tensors."""
    part = family.denoiser.folder
    (folder / part).mkdir()
    (folder / "model_index.json").write_text(json.dumps({part: [library, named]}))
    (folder / part / "config.json").write_text(json.dumps({"_class_name": own, "attention_head_dim": 8}))
    (folder / part / "diffusion_pytorch_model.safetensors").write_bytes(b"\2" + bytes(7) + b"{}")
    with pytest.raises(ModelFileError) as caught:
        PublishedFolder(folder, DEFAULTS).graphs(family)
    return str(caught.value)


def test_another_class_is_refused(tmp_path: Path) -> None:
    """The weights would fill the template of another class; both classes are named."""
    assert refusal(tmp_path, FAMILIES["sd"], "UNet2DConditionModel", "ZImageTransformer2DModel") == (
        "unet/config.json: _class_name must be UNet2DConditionModel, as in model_index.json; "
        "got ZImageTransformer2DModel"
    )


@pytest.mark.parametrize(
    ("family", "named", "own", "library"),
    [
        ("sd", "UNet2DConditionModel", "UNet2DConditionModel", "diffusers"),
        ("sd", "UNet2DConditionModel", "FlaxUNet2DConditionModel", "diffusers"),
        ("sd", "UNet2DConditionModel", None, "diffusers"),
        ("sd", "UNet2DConditionModel", "Other", "another"),
        ("pixart_sigma", "Transformer2DModel", "PixArtTransformer2DModel", "diffusers"),
        ("pixart_sigma", "PixArtTransformer2DModel", "Transformer2DModel", "diffusers"),
    ],
)
def test_names_of_one_class(tmp_path: Path, family: str, named: str, own: object, library: str) -> None:
    """One class, a former name of it, and classes of other libraries are served; here tensors are missing."""
    assert "_class_name" not in refusal(tmp_path, FAMILIES[family], named, own, library)


def test_a_vae_of_the_options_replaces_a_missing_one(tmp_path: Path) -> None:
    """A folder without a VAE is complete with one of the options, whose configuration it then has."""
    family, folder, vae = FAMILIES["sd"], tmp_path / "model", tmp_path / "other" / "vae"
    folder.mkdir()
    vae.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (vae / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny", "scaling_factor": 1.0}))
    for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors"):
        (vae / name).write_bytes(b"\2" + bytes(7) + b"{}")
    assert not PublishedFolder(folder, DEFAULTS).has(family, "vae_decoder")
    layout = PublishedFolder(folder, replace(DEFAULTS, vae=vae.parent, precision=Precision.FP16))
    assert layout.has(family, "vae_decoder")
    assert not any("vae" in fault for fault in layout.missing(family, {}, {}))
    assert layout.json("vae_decoder/config.json")["scaling_factor"] == 1
    assert [path.name for path in layout._vae("vae_decoder").weights.files] == [
        "diffusion_pytorch_model.fp16.safetensors"
    ]
