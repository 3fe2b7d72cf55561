"""What is known of a model whose manifest says nothing: by its configurations, its index, or its family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.folder.configs import ConfigFiles
from tintype.service.models.folder.families import FAMILIES
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.spec import INPAINTING, Guidance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = read_manifest(BUILTIN).spec.latent_channels
Edit: TypeAlias = "Callable[[Path, Callable[[dict[str, Any]], object]], None]"


def test_an_inpainting_model_is_known_by_its_channels(foreign: Path, edit: Edit) -> None:
    """A denoiser that takes a mask and a masked picture repaints, does nothing else, and needs the image encoder."""
    edit(foreign / "unet/config.json", lambda c: c.update(in_channels=2 * CHANNELS + 1))
    spec = read_manifest(foreign).spec
    assert spec.inpaints is True
    assert spec.capabilities == {INPAINTING}
    (foreign / "vae_encoder" / "model.onnx").unlink()
    with pytest.raises(ModelBroken, match=r"vae_encoder/model\.onnx is missing; an inpainting model requires it"):
        read_manifest(foreign)


@pytest.mark.parametrize("said", [{"time_cond_proj_dim": 256}, {"guidance_embeds": True}])
def test_a_scale_as_an_input_is_known_by_the_configuration(foreign: Path, edit: Edit, said: dict[str, Any]) -> None:
    """A denoiser that takes the scale of guidance needs no second call; the manifest may differ."""
    assert read_manifest(foreign).spec.guidance is Guidance.CLASSIFIER_FREE
    edit(foreign / "unet/config.json", lambda c: c.update(said))
    assert read_manifest(foreign).spec.guidance is Guidance.EMBEDDED
    (foreign / "tintype.json").write_text('{"tintype": 1, "guidance": "none"}')
    assert read_manifest(foreign).spec.guidance is Guidance.NONE


def test_the_index_tells_what_the_graphs_do_not(foreign: Path, edit: Edit) -> None:
    """What diffusers keeps in model_index.json arrives where loading finds it."""
    assert (read_manifest(foreign).config.zero_negative, read_manifest(foreign).config.aesthetic_scores) == (
        False,
        False,
    )
    said = {"force_zeros_for_empty_prompt": True, "requires_aesthetics_score": True}
    edit(foreign / "model_index.json", lambda c: c.update(said))
    assert (read_manifest(foreign).config.zero_negative, read_manifest(foreign).config.aesthetic_scores) == (True, True)


@pytest.mark.parametrize(("family", "zero"), [("sd", False), ("sdxl", True), ("sdxl_refiner", True), ("sd3", False)])
def test_a_silent_index_means_what_diffusers_pipelines_take(family: str, zero: bool) -> None:  # noqa: FBT001
    """SDXL's take zeros for an empty negative prompt unless they are told not to."""
    silent: list[dict[str, Any]] = [{} for _ in FAMILIES[family].text_encoders]
    assert ConfigFiles({}, {}, {}, {}, silent, silent).pipeline_config(FAMILIES[family]).zero_negative is zero
    index = {"force_zeros_for_empty_prompt": False}
    assert ConfigFiles({}, index, {}, {}, silent, silent).pipeline_config(FAMILIES[family]).zero_negative is False


@pytest.mark.parametrize(
    ("family", "text", "tokenizers", "lengths"),
    [
        ("sd", [{"max_position_embeddings": 248}], [{"model_max_length": 248}], (248,)),
        ("sd", [{"max_position_embeddings": 248}], [{"model_max_length": 77}], (77,)),
        ("sd", [{"max_position_embeddings": 77}], [{"model_max_length": 248}], (77,)),
        ("sd", [{"max_position_embeddings": 64}], [{"model_max_length": 64}], (64,)),
        ("sd", [{"max_position_embeddings": 248}], [{"model_max_length": 10**30}], (248,)),
        ("sd", [{}], [{}], (77,)),
        ("sdxl", [{"max_position_embeddings": 248}] * 2, [{"model_max_length": 248}] * 2, (248, 248)),
        ("flux", [{"max_position_embeddings": 248}, {}], [{"model_max_length": 248}] * 2, (248, 512)),
        ("pixart_sigma", [{}], [{"model_max_length": 120}], (300,)),
        ("sana", [{"max_position_embeddings": 8192}], [{"model_max_length": 10**30}], (300,)),
        ("sana", [{"max_position_embeddings": 128}], [{}], (128,)),
    ],
)
def test_lengths_are_those_of_diffusers_pipelines(
    family: str, text: list[dict[str, Any]], tokenizers: list[dict[str, Any]], lengths: tuple[int, ...]
) -> None:
    """CLIP reads as many tokens as its tokenizer says, T5 and Gemma as many as the pipeline asks for."""
    configs = ConfigFiles({}, {}, {}, {}, text, tokenizers)
    assert configs.lengths(FAMILIES[family]) == lengths
    assert configs.length_faults(FAMILIES[family]) == []


@pytest.mark.parametrize("family", ["sdxl", "sd3"])
def test_encoders_side_by_side_must_be_equally_long(family: str) -> None:
    """Two CLIPs of different lengths can't be put side by side: the tokenizers are named."""
    silent: list[dict[str, Any]] = [{} for _ in FAMILIES[family].text_encoders]
    configs = ConfigFiles(
        {}, {}, {}, {}, silent, [{"model_max_length": 248}, {"model_max_length": 77}, {}][: len(silent)]
    )
    (fault,) = configs.length_faults(FAMILIES[family])
    assert "not tokenizer 248 and tokenizer_2 77 tokens" in fault


def test_an_encoder_that_wants_a_mask_is_refused(foreign: Path, edit: Edit) -> None:
    """What a configuration asks for, and no graph of CLIP takes, is named when the folder is read."""
    edit(foreign / "text_encoder/config.json", lambda c: c.update(use_attention_mask=True))
    with pytest.raises(ModelBroken, match=r"text_encoder/config\.json: use_attention_mask must be false"):
        read_manifest(foreign)


def test_the_family_fills_what_configurations_leave_out(foreign: Path) -> None:
    """Old folders say little; then Stable Diffusion's numbers hold."""
    for part in ("unet", "vae_decoder", "text_encoder"):
        (foreign / part / "config.json").write_text("{}")
    (foreign / "tokenizer/tokenizer_config.json").write_text("{}")
    manifest = read_manifest(foreign)
    spec = manifest.spec
    assert (spec.latent_channels, spec.downscale, spec.size_multiple) == (4, 8, 8)
    assert spec.native_sizes == ((512, 512),)
    assert (spec.max_tokens, manifest.config.scaling_factor) == (77, 0.18215)
