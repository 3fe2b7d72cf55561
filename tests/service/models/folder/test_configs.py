"""Values that tintype.json leaves out come from configurations, model_index.json or the family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tintype.service.errors import ModelBroken
from tintype.service.models.families.table import FAMILIES
from tintype.service.models.files import ModelFileError
from tintype.service.models.folder.configs import ConfigFiles
from tintype.service.models.folder.reader import read_manifest
from tintype.service.models.residency.catalogue import BUILTIN
from tintype.service.models.spec import INPAINTING, Guidance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = read_manifest(BUILTIN).spec.latent_channels
Edit: TypeAlias = "Callable[[Path, Callable[[dict[str, Any]], object]], None]"


def test_inpainting_models_are_recognised_by_their_channels(foreign: Path, edit: Edit) -> None:
    """A denoiser with channels for a mask and a masked image only inpaints, and requires the image encoder."""
    edit(foreign / "unet/config.json", lambda c: c.update(in_channels=2 * CHANNELS + 1))
    spec = read_manifest(foreign).spec
    assert spec.inpaints is True
    assert spec.capabilities == {INPAINTING}
    (foreign / "vae_encoder" / "model.onnx").unlink()
    with pytest.raises(ModelBroken, match=r"the vae_encoder is missing; an inpainting model requires it"):
        read_manifest(foreign)


@pytest.mark.parametrize(("family", "channels"), [("sd", 9), ("sdxl", 9), ("flux_fill", 384)])
def test_a_mask_adds_channels(family: str, channels: int) -> None:
    """In latents of 4 channels a mask and 4; FLUX.1 Fill's tokens are (16 + 16 + 64) numbers for each of 4 latents."""
    row = FAMILIES[family]
    assert ConfigFiles({}, {}, {"in_channels": channels}, {}, [], []).inpaints(row)
    assert not ConfigFiles({}, {}, {"in_channels": 64 if row.denoiser.packed else 4}, {}, [], []).inpaints(row)
    with pytest.raises(ModelFileError, match=f"or {channels} with a mask, not 7"):
        ConfigFiles({}, {}, {"in_channels": 7}, {}, [], []).inpaints(row)


def test_families_without_masks_say_how_many_channels_there_are() -> None:
    """No alternative is named."""
    with pytest.raises(ModelFileError, match=r"must be 64, not 128$"):
        ConfigFiles({}, {}, {"in_channels": 128}, {}, [], []).inpaints(FAMILIES["flux"])


def test_a_table_of_positions_limits_the_sides() -> None:
    """Of a side for SD3, of a square for AuraFlow; models that compute positions have no limit."""
    for family, places, longest in (("sd3", 192, 3072), ("aura_flow", 9216, 1536), ("flux", None, None)):
        denoiser = {"pos_embed_max_size": places} if places else {}
        assert ConfigFiles({}, {}, denoiser, {}, [], []).max_side(FAMILIES[family]) == longest


def test_the_trained_size_is_that_of_the_configuration_or_of_the_family() -> None:
    """AuraFlow's configuration has the size of its first training, as diffusers' pipeline ignores."""
    for family, size in (("pixart_alpha", 512), ("aura_flow", 1024)):
        assert ConfigFiles({}, {}, {"sample_size": 64}, {}, [], []).native_sizes(FAMILIES[family]) == ((size, size),)


@pytest.mark.parametrize("fields", [{"time_cond_proj_dim": 256}, {"guidance_embeds": True}])
def test_guidance_is_read_from_the_configuration(foreign: Path, edit: Edit, fields: dict[str, Any]) -> None:
    """A denoiser that takes the guidance scale as an input needs no second row; tintype.json overrides this."""
    assert read_manifest(foreign).spec.guidance is Guidance.CLASSIFIER_FREE
    edit(foreign / "unet/config.json", lambda c: c.update(fields))
    assert read_manifest(foreign).spec.guidance is Guidance.EMBEDDED
    (foreign / "tintype.json").write_text('{"tintype": 1, "guidance": "none"}')
    assert read_manifest(foreign).spec.guidance is Guidance.NONE


def test_fields_of_model_index_are_read(foreign: Path, edit: Edit) -> None:
    """Fields of diffusers' model_index.json are in the pipeline's configuration."""
    assert (read_manifest(foreign).config.zero_negative, read_manifest(foreign).config.aesthetic_scores) == (
        False,
        False,
    )
    fields = {"force_zeros_for_empty_prompt": True, "requires_aesthetics_score": True}
    edit(foreign / "model_index.json", lambda c: c.update(fields))
    assert (read_manifest(foreign).config.zero_negative, read_manifest(foreign).config.aesthetic_scores) == (True, True)


@pytest.mark.parametrize(("family", "zero"), [("sd", False), ("sdxl", True), ("sdxl_refiner", True), ("sd3", False)])
def test_defaults_of_missing_index_fields_are_diffusers(family: str, zero: bool) -> None:  # noqa: FBT001
    """SDXL gives zeros for an empty negative prompt unless model_index.json says otherwise."""
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
def test_clips_must_be_equally_long(family: str) -> None:
    """Embeddings of CLIPs of different lengths cannot be concatenated; the fault names the tokenizers."""
    silent: list[dict[str, Any]] = [{} for _ in FAMILIES[family].text_encoders]
    configs = ConfigFiles(
        {}, {}, {}, {}, silent, [{"model_max_length": 248}, {"model_max_length": 77}, {}][: len(silent)]
    )
    (fault,) = configs.length_faults(FAMILIES[family])
    assert "not tokenizer 248 and tokenizer_2 77 tokens" in fault


def test_encoders_that_require_a_mask_are_rejected(foreign: Path, edit: Edit) -> None:
    """A configuration that requires a mask, which no graph of CLIP takes, is rejected when the folder is read."""
    edit(foreign / "text_encoder/config.json", lambda c: c.update(use_attention_mask=True))
    with pytest.raises(ModelBroken, match=r"text_encoder/config\.json: use_attention_mask must be false"):
        read_manifest(foreign)


def test_the_family_completes_short_configurations(foreign: Path) -> None:
    """Old folders have few fields; the family's values, here Stable Diffusion's, replace the others."""
    for part in ("unet", "vae_decoder", "text_encoder"):
        (foreign / part / "config.json").write_text("{}")
    (foreign / "tokenizer/tokenizer_config.json").write_text("{}")
    manifest = read_manifest(foreign)
    spec = manifest.spec
    assert (spec.latent_channels, spec.downscale, spec.size_multiple) == (4, 8, 8)
    assert spec.native_sizes == ((512, 512),)
    assert (spec.max_tokens, manifest.config.scaling_factor) == (77, 0.18215)
