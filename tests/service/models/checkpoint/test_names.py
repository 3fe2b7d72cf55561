"""Every parameter of an architecture is found in a file of original names, and has the same numbers there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tintype.service.models.checkpoint import (
    flow_transformers,
    single_stream,
    text_names,
    transformer_names,
    unet_names,
    wan_names,
)
from tintype.service.models.files import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tintype.service.models.weights.pieces import Naming

torch = pytest.importorskip("torch")
single_file_utils = pytest.importorskip("diffusers.loaders.single_file_utils")
models = pytest.importorskip("tests.support.models.original_models")
originals = pytest.importorskip("tests.support.models.original_names")

pytestmark = pytest.mark.torch

State: TypeAlias = "Mapping[str, Any]"

NARROW = {"norm_num_groups": 32, "cross_attention_dim": 48}
SMALL_UNETS: dict[str, dict[str, Any]] = {
    "sd1": {"block_out_channels": [32, 64, 64, 64], **NARROW},
    "sd2": {"block_out_channels": [32, 64, 64, 64], "attention_head_dim": [1, 1, 1, 1], **NARROW},
    "sdxl": {"block_out_channels": [32, 64, 64], "attention_head_dim": 1, "transformer_layers_per_block": [1, 2, 3]},
    "refiner": {"block_out_channels": [32, 64, 64, 32], "attention_head_dim": 1, "transformer_layers_per_block": 2},
    "ssd_1b": {"block_out_channels": [32, 64, 64], "attention_head_dim": 1},
    "vega": {"block_out_channels": [32, 64, 64], "attention_head_dim": 1},
}
SMALL_VAE = {"block_out_channels": [32, 64, 64, 64], "norm_num_groups": 32}
SMALL_SD3 = {
    "num_layers": 3,
    "num_attention_heads": 2,
    "caption_projection_dim": 128,
    "joint_attention_dim": 48,
    "pooled_projection_dim": 40,
    "pos_embed_max_size": 8,
}
SMALL_FLUX = {"num_layers": 2, "num_single_layers": 2, "num_attention_heads": 2, "joint_attention_dim": 48}
PREFIX = "model.diffusion_model."


def read(naming: Naming, stored: State, name: str, shape: tuple[int, ...]) -> Any:
    """Return a parameter as a template reads it."""
    parts = [
        (stored[piece.name].T if piece.transposed else stored[piece.name])[piece.first : piece.last]
        for piece in naming(name)
    ]
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole.reshape(shape)


def assert_equal(naming: Naming, stored: State, module: Any) -> None:
    """Check that the names give all parameters of a module, and use all stored numbers."""
    state = originals.published_state(module)
    assert state
    for name, tensor in state.items():
        assert torch.equal(read(naming, stored, name, tuple(tensor.shape)), tensor), name
    used = {piece.name for name in state for piece in naming(name)}
    assert {name for name in stored if not name.endswith("logit_scale")} == used


@pytest.mark.parametrize("name", SMALL_UNETS)
def test_unet(name: str) -> None:
    """UNets of all depths, also with fewer transformers on the way up, or without attention in the middle."""
    module = models.randomize(models.unet(name, **SMALL_UNETS[name]))
    stored = originals.prefixed_state(PREFIX, originals.unet_state(module))
    assert_equal(unet_names.ldm_unet(module.config, PREFIX), stored, module)
    if name in ("sd1", "sd2", "sdxl", "refiner"):
        theirs = single_file_utils.convert_ldm_unet_checkpoint(dict(stored), module.config)
        assert_same(theirs, module)


def assert_same(theirs: State, module: Any) -> None:
    """Check that diffusers' own conversion of the file gives the module, so the file is as published ones are."""
    ours = {name: tensor for name, tensor in originals.published_state(module).items() if name in theirs}
    assert len(ours) >= len(theirs) > 10
    assert all(torch.equal(ours[name].flatten(), tensor.flatten()) for name, tensor in theirs.items())


@pytest.mark.parametrize("name", models.VAES)
def test_vae(name: str) -> None:
    """VAEs, whose attention is stored as convolutions, with and without the convolutions of the latents."""
    module = models.randomize(models.vae(name, **SMALL_VAE))
    stored = originals.prefixed_state("first_stage_model.", originals.vae_state(module))
    assert_equal(unet_names.ldm_vae(module.config, "first_stage_model."), stored, module)
    assert_same(single_file_utils.convert_ldm_vae_checkpoint(dict(stored), module.config), module)


@pytest.mark.parametrize("projected", [0, 48])
def test_open_clip(projected: int) -> None:
    """OpenCLIP joins query, key and value, and stores the transpose of the projection."""
    module = models.randomize(models.clip("clip_g", projected=projected, **models.REDUCED_CLIP))
    prefix = "conditioner.embedders.1.model."
    stored = originals.prefixed_state(prefix, originals.open_clip_state(module))
    assert_equal(text_names.open_clip(module.config.to_dict(), prefix), stored, module)
    if not projected:  # diffusers splits by the width of the projection
        assert_same(single_file_utils.convert_open_clip_checkpoint(module, dict(stored), prefix), module)


def test_transformers_names() -> None:
    """CLIP-L and T5 have the names of transformers behind a prefix, in a few old files without the root."""
    module = models.randomize(models.clip("clip_l", **models.REDUCED_CLIP))
    stored = originals.prefixed_state("cond_stage_model.transformer.", originals.published_state(module))
    assert_equal(text_names.prefixed("cond_stage_model.transformer."), stored, module)
    without_root = {name.replace("text_model.", ""): tensor for name, tensor in stored.items()}
    assert_equal(text_names.prefixed("cond_stage_model.transformer.", drop="text_model."), without_root, module)


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("name", ["flux_dev", "flux_schnell"])
def test_flux(name: str, prefix: str) -> None:
    """FLUX.1 joins query, key, value and MLP, and its last modulation has the halves the other way round."""
    module = models.randomize(models.transformer(name, **SMALL_FLUX))
    assert_equal(
        transformer_names.bfl_flux(module.config, prefix),
        originals.prefixed_state(prefix, originals.flux_state(module)),
        module,
    )


def test_flux_against_diffusers() -> None:
    """Diffusers' conversion of FLUX.1, which knows the published width only, takes the same rows."""
    width, parts = 3072, {"num_layers": 2, "num_single_layers": 2}
    with torch.device("meta"):
        module = models.transformer("flux_dev", **parts)
    naming = transformer_names.bfl_flux(module.config, "")
    convert = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers
    assert_same_rows(module, originals.flux_state(module), naming, convert)
    assert module.config.num_attention_heads * module.config.attention_head_dim == width


OWN_WARNING = "ignore:`FluxPosEmbed` is deprecated"  # diffusers 0.42 imports it from its former place itself


@pytest.mark.filterwarnings(OWN_WARNING)
@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_chroma(prefix: str) -> None:
    """Chroma has FLUX.1's names, and those of one more network in place of all modulations."""
    small = {"approximator_num_channels": 16, "approximator_hidden_dim": 24, "approximator_layers": 2}
    module = models.randomize(models.transformer("chroma", **SMALL_FLUX, **small))
    stored = originals.prefixed_state(prefix, originals.chroma_state(module))
    assert_equal(flow_transformers.chroma(module.config, prefix), stored, module)


@pytest.mark.filterwarnings(OWN_WARNING)
def test_chroma_against_diffusers() -> None:
    """Diffusers' conversion of Chroma, which knows the published width only, takes the same rows."""
    with torch.device("meta"):
        module = models.transformer("chroma", num_layers=2, num_single_layers=2)
    shapes = {name: tensor.shape for name, tensor in originals.chroma_state(module).items()}
    stored = {name: torch.arange(shape[0]) + 10**6 * number for number, (name, shape) in enumerate(shapes.items())}
    naming = flow_transformers.chroma(module.config, "")
    theirs = single_file_utils.convert_chroma_transformer_checkpoint_to_diffusers(dict(stored))
    assert theirs.keys() == module.state_dict().keys()
    for name, rows in theirs.items():
        assert torch.equal(read(naming, stored, name, tuple(rows.shape)), rows), name


@pytest.mark.parametrize("prefix", ["", "model.model."])
def test_aura_flow(prefix: str) -> None:
    """AuraFlow numbers image and text, and its last modulation has the halves the other way round."""
    small = {"num_mmdit_layers": 2, "num_single_dit_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2}
    sizes = {"caption_projection_dim": 16, "joint_attention_dim": 24, "pos_embed_max_size": 64}
    module = models.randomize(models.transformer("aura_flow", **small | sizes))
    stored = originals.prefixed_state(prefix, originals.aura_flow_state(module))
    assert_equal(flow_transformers.aura_flow(module.config, prefix), stored, module)
    theirs = single_file_utils.convert_auraflow_transformer_checkpoint_to_diffusers(originals.aura_flow_state(module))
    assert theirs.keys() == module.state_dict().keys()
    assert_same(theirs, module)


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("name", ["flux2", "flux2_klein"])
def test_flux2(name: str, prefix: str) -> None:
    """FLUX.2 joins query, key and value in blocks for image and text, and its last modulation has swapped halves."""
    module = models.randomize(models.transformer(name, **SMALL_FLUX))
    stored = originals.prefixed_state(prefix, originals.flux2_state(module))
    assert_equal(transformer_names.bfl_flux2(module.config, prefix), stored, module)
    theirs = single_file_utils.convert_flux2_transformer_checkpoint_to_diffusers(originals.flux2_state(module))
    assert theirs.keys() == module.state_dict().keys()
    assert_same(theirs, module)


SMALL_SINGLE_STREAMS: dict[str, dict[str, Any]] = {
    "z_image": {"dim": 256, "n_heads": 2, "n_layers": 2, "n_refiner_layers": 1, "cap_feat_dim": 24},
    "lumina2": {"hidden_size": 192, "num_attention_heads": 4, "num_kv_heads": 1, "cap_feat_dim": 24, "num_layers": 1},
}


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("name", SMALL_SINGLE_STREAMS)
def test_single_streams(name: str, prefix: str) -> None:
    """Z-Image and Lumina-Image 2 join query, key and value; the query of the second has more rows."""
    module = models.randomize(models.transformer(name, **SMALL_SINGLE_STREAMS[name]))
    stored = originals.prefixed_state(prefix, originals.single_stream_state(module))
    naming, convert = SINGLE_STREAMS[name]
    assert_equal(naming(module.config, prefix), stored, module)
    if name == "z_image":  # for Lumina-Image 2, diffusers knows the published width only
        theirs = convert({**stored, f"{prefix}norm_final.weight": torch.ones(2)})
        assert theirs.keys() == module.state_dict().keys()
        assert_same(theirs, module)


def test_lumina2_against_diffusers() -> None:
    """Diffusers' conversion of Lumina-Image 2, which knows the published width only, takes the same rows."""
    with torch.device("meta"):
        module = models.transformer("lumina2", num_layers=1, num_refiner_layers=2)
    naming, convert = SINGLE_STREAMS["lumina2"]
    assert_same_rows(module, originals.single_stream_state(module), naming(module.config, ""), convert)


def assert_same_rows(module: Any, state: State, naming: Naming, convert: Callable[..., State]) -> None:
    """Check that diffusers' conversion takes the same rows: each has a number of its own, instead of its width."""
    stored = {name: torch.arange(len(tensor)) + 10**6 * number for number, (name, tensor) in enumerate(state.items())}
    theirs = convert(dict(stored))
    assert theirs.keys() == module.state_dict().keys()
    for name, rows in theirs.items():
        assert torch.equal(read(naming, stored, name, tuple(rows.shape)), rows), name


SINGLE_STREAMS: dict[str, tuple[Callable[..., Naming], Callable[..., Any]]] = {
    "z_image": (single_stream.z_image, single_file_utils.convert_z_image_transformer_checkpoint_to_diffusers),
    "lumina2": (single_stream.lumina2, single_file_utils.convert_lumina2_to_diffusers),
}


@pytest.mark.parametrize("nested", [True, False])
def test_vae_of_flux2(nested: bool) -> None:  # noqa: FBT001
    """Its halves contain the convolutions of the latents, or not, and the file has the statistics of the latents."""
    module = models.flux2_vae(**SMALL_VAE)
    stored = originals.vae_state(module)
    if not nested:
        stored = {
            name.replace("encoder.quant", "quant").replace("decoder.post_", "post_"): t for name, t in stored.items()
        }
    assert_equal(unet_names.ldm_vae(module.config, "", nested=nested), stored, module)


def test_vae_of_wan() -> None:
    """Qwen-Image's autoencoder, in the names of Wan's, as diffusers reads them."""
    import diffusers  # noqa: PLC0415

    module = models.randomize(diffusers.AutoencoderKLQwenImage(base_dim=4).eval())
    stored = {}
    for name, tensor in module.state_dict().items():
        layer, _, kind = name.rpartition(".")
        stored[f"{wan_names.original(layer)}.{kind}"] = tensor
    assert len(stored) == len(module.state_dict())
    theirs = single_file_utils.convert_wan_vae_to_diffusers(dict(stored))
    assert theirs.keys() == module.state_dict().keys()
    assert_same(theirs, module)


@pytest.mark.parametrize("name", ["sd3_medium", "sd35_medium"])
def test_sd3(name: str) -> None:
    """Stable Diffusion 3 joins query, key and value; 3.5 has norms, and second attentions in some blocks."""
    dual = {"dual_attention_layers": [0, 1]} if name == "sd35_medium" else {}
    module = models.randomize(models.transformer(name, **SMALL_SD3, **dual))
    stored = originals.prefixed_state(PREFIX, originals.sd3_state(module))
    # The last block's query of the text has no use, but it is stored.
    assert_equal(transformer_names.sd3(module.config, PREFIX), stored, module)
    theirs = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(dict(stored))
    assert theirs.keys() == module.state_dict().keys()
    assert_same(theirs, module)


SCHEMES: dict[str, Callable[[], Naming]] = {
    "unet": lambda: unet_names.ldm_unet({"layers_per_block": 2, "up_block_types": ["UpBlock2D"]}, ""),
    "vae": lambda: unet_names.ldm_vae({"block_out_channels": [32]}, ""),
    "open_clip": lambda: text_names.open_clip({"hidden_size": 64}, ""),
    "flux": lambda: transformer_names.bfl_flux({"num_attention_heads": 1, "attention_head_dim": 8}, ""),
    "chroma": lambda: flow_transformers.chroma({"num_attention_heads": 1, "attention_head_dim": 8}, ""),
    "aura_flow": lambda: flow_transformers.aura_flow({"num_attention_heads": 1, "attention_head_dim": 8}, ""),
    "flux2": lambda: transformer_names.bfl_flux2({"num_attention_heads": 1, "attention_head_dim": 8}, ""),
    "z_image": lambda: single_stream.z_image({"dim": 8}, ""),
    "sd3": lambda: transformer_names.sd3({"num_attention_heads": 1, "attention_head_dim": 8, "num_layers": 1}, ""),
}
STRANGE = [
    "",
    "weight",
    "strange.weight",
    "decoder.strange.weight",
    "transformer_blocks.0.strange.weight",
    "single_transformer_blocks.0.strange.weight",
    "text_model.encoder.layers.0.strange.weight",
]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", STRANGE)
def test_unknown_parameter(scheme: str, name: str) -> None:
    """A parameter that a scheme does not know is refused by name."""
    with pytest.raises(ModelFileError, match=f"the original name of {name} is not known"):
        SCHEMES[scheme]()(name)
