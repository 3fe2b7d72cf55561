"""The keys of templates: which spellings of a configuration are equal, and which configurations are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.service.models.files import ModelFileError
from tintype.service.models.templates.fields import IGNORED, SHAPING
from tintype.service.models.templates.keys import kind_of, shaping

SDXL = {
    "block_out_channels": [320, 640, 1280],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
}
# transformer/config.json of PixArt-alpha/PixArt-Sigma-XL-2-1024-MS, without its defaults.
PIXART_SIGMA = {
    "_class_name": "Transformer2DModel",
    "_diffusers_version": "0.28.0.dev0",
    "caption_channels": 4096,
    "double_self_attention": False,
    "num_vector_embeds": None,
    "norm_type": "ada_norm_single",
    "only_cross_attention": False,
    "use_additional_conditions": False,
    "use_linear_projection": False,
}


@pytest.mark.parametrize(
    ("class_name", "component", "kind"),
    [
        ("CLIPTextModel", "text_encoder", "clip"),
        ("CLIPTextModelWithProjection", "text_encoder_2", "clip_projected"),
        ("T5EncoderModel", "text_encoder_3", "t5"),
        ("Gemma2Model", "text_encoder", "gemma"),
        ("UNet2DConditionModel", "unet", "unet"),
        ("SD3Transformer2DModel", "transformer", "sd3"),
        ("AutoencoderKL", "vae_encoder", "kl_encoder"),
        ("AutoencoderDC", "vae_decoder", "dc_decoder"),
        ("AutoencoderTiny", "vae_decoder", "tiny_decoder"),
    ],
)
def test_kinds(class_name: str, component: str, kind: str) -> None:
    """Each supported class has a kind of graph, and autoencoders have two."""
    assert kind_of(class_name, component) == kind
    assert kind in SHAPING


def test_masked_kinds() -> None:
    """T5 has another graph where its padding is masked; other encoders have one graph."""
    assert kind_of("T5EncoderModel", "text_encoder", "masked") == "masked_t5"
    assert kind_of("Gemma2Model", "text_encoder", "masked") == "gemma"


def test_unknown_classes() -> None:
    """A class without templates is refused with its name, in one printable line, with what to do."""
    with pytest.raises(ModelFileError, match=r"^transformer is a Newest\\nModel, which has no template$"):
        kind_of("Newest\nModel", "transformer")
    with pytest.raises(ModelFileError, match="vae must be vae_encoder or vae_decoder"):
        kind_of("AutoencoderKL", "vae")


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("unet", {}, {"sample_size": 64, "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.2"}),
        ("unet", {"attention_head_dim": 8}, {"attention_head_dim": [8, 8, 8, 8]}),
        ("unet", {"attention_head_dim": (5, 10, 20, 20)}, {"attention_head_dim": [5, 10, 20, 20]}),
        ("unet", {"cross_attention_dim": 768}, {"cross_attention_dim": [768] * 4}),
        ("unet", {}, {"transformer_layers_per_block": [1, 1, 1, 1]}),
        ("unet", {}, {"upcast_attention": True, "dropout": 0.1, "layers_per_block": [2, 2, 2, 2]}),
        ("unet", SDXL, SDXL | {"transformer_layers_per_block": [0, 2, 10]}),
        ("unet", SDXL, SDXL | {"reverse_transformer_layers_per_block": [10, 2, 1]}),
        ("unet", SDXL, SDXL | {"reverse_transformer_layers_per_block": [[10, 10, 10], [2, 2, 2], 0]}),
        ("kl_decoder", {"act_fn": "silu"}, {"scaling_factor": 0.13, "force_upcast": True, "shift_factor": None}),
        ("kl_decoder", {}, {"down_block_types": ["DownEncoderBlock2D"] * 4, "use_quant_conv": False}),
        ("clip", {}, {"projection_dim": 768, "architectures": ["CLIPTextModel"], "torch_dtype": "float16"}),
        ("t5", {}, {"dense_act_fn": "relu", "is_gated_act": False, "num_decoder_layers": 24}),
        ("gemma", {}, {"layer_types": ["sliding_attention", "full_attention"] * 13, "hidden_act": "gelu"}),
        ("flux", {}, {"out_channels": 64}),
        ("sd3", {}, {"sample_size": 64, "dual_attention_layers": ()}),
        ("pixart", {"sample_size": 64}, {"sample_size": 64, "interpolation_scale": 1}),
        ("sana", {}, {"sample_size": 16}),
        ("dc_encoder", {"downsample_block_type": "Conv"}, {"downsample_block_type": "conv"}),
        ("dc_decoder", {}, {"decoder_block_types": ["ResBlock"] * 6}),
        ("tiny_encoder", {}, {"latent_magnitude": 3, "latent_shift": 0.5, "num_decoder_blocks": [1]}),
    ],
)
def test_equal_configurations(kind: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    """Configurations of the same graph have one key."""
    assert shaping(kind, one) == shaping(kind, other)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("unet", "in_channels", 9),
        ("unet", "time_cond_proj_dim", 256),
        ("unet", "attention_head_dim", [5, 10, 20, 20]),
        ("unet", "transformer_layers_per_block", [1, 1, 2, 1]),
        ("unet", "transformer_layers_per_block", [1, 1, 1, 2]),  # of the middle block
        ("unet", "mid_block_type", "UNetMidBlock2D"),
        ("clip", "eos_token_id", 2),
        ("clip_projected", "projection_dim", 768),
        ("kl_decoder", "use_post_quant_conv", False),
        ("sd3", "pos_embed_max_size", 192),
        ("pixart", "sample_size", 64),
        ("sana", "interpolation_scale", 2.0),
    ],
)
def test_different_configurations(kind: str, field: str, value: Any) -> None:
    """A field that shapes the graph, or only its declared shapes or constants, changes the key."""
    assert shaping(kind, {field: value}) != shaping(kind, {})


def test_pixart_as_published() -> None:
    """PixArt-Sigma names the class that diffusers has since split; the fields of other models are unset."""
    assert kind_of("Transformer2DModel", "transformer") == kind_of("PixArtTransformer2DModel", "transformer")
    newer = {"caption_channels": 4096, "use_additional_conditions": False}
    assert shaping("pixart", PIXART_SIGMA) == shaping("pixart", newer)


def test_other_models_of_that_class() -> None:
    """DiT has another kind of norm, so another key; a field that PixArt does not have is refused."""
    assert shaping("pixart", PIXART_SIGMA | {"norm_type": "ada_norm_zero"}) != shaping("pixart", PIXART_SIGMA)
    with pytest.raises(ModelFileError, match="num_vector_embeds is not known for graphs of kind pixart; got 8"):
        shaping("pixart", PIXART_SIGMA | {"num_vector_embeds": 8})


def test_a_long_list_of_blocks() -> None:
    """A configuration cannot take more memory than its file."""
    blocks = {"down_block_types": ["DownBlock2D"] * 101, "up_block_types": ["UpBlock2D"] * 101}
    with pytest.raises(ModelFileError, match="down_block_types must have at most 100 entries; got 101"):
        shaping("unet", blocks)


def test_sorted_plain_values() -> None:
    """A key is sorted and has lists in place of tuples, as the index does."""
    key = shaping("flux", {"axes_dims_rope": (16, 56, 56)})
    assert list(key) == sorted(key)
    assert key["axes_dims_rope"] == [16, 56, 56]


@pytest.mark.parametrize("kind", SHAPING)
def test_unknown_fields(kind: str) -> None:
    """A field that no table has is refused by name, unless it is null or false."""
    assert shaping(kind, {"new": None, "newer": False}) == shaping(kind, {})
    with pytest.raises(ModelFileError, match=f"^quantization_config is not known for graphs of kind {kind}; got "):
        shaping(kind, {"quantization_config": {"bits": 4}})


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"down_block_types": "DownBlock2D"}, "down_block_types must be a list of names; got DownBlock2D"),
        ({"up_block_types": ["UpBlock2D"]}, "up_block_types must have 4 entries; got 1"),
        ({"layers_per_block": [2, 3]}, r"layers_per_block must have 4 entries, as the blocks; got \[2, 3\]"),
        ({"layers_per_block": 10**9}, "layers_per_block must be 1 to 99; got 1000000000"),
        ({"transformer_layers_per_block": [1]}, "transformer_layers_per_block must have 4 entries"),
    ],
)
def test_wrong_types(config: dict[str, Any], problem: str) -> None:
    """A field of the wrong type is refused with its name and its value."""
    with pytest.raises(ModelFileError, match=f"^{problem}"):
        shaping("unet", config)


def test_no_field_is_both() -> None:
    """No field both shapes a graph and is ignored."""
    assert {
        kind: SHAPING[kind].keys() & IGNORED[kind] for kind in SHAPING if SHAPING[kind].keys() & IGNORED[kind]
    } == {}
    assert SHAPING.keys() == IGNORED.keys()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=6,
)


@pytest.mark.parametrize("heads", [None, 0, "a", 32])
@pytest.mark.parametrize("width", [None, [], 5120])
def test_a_width_that_cannot_be_derived(heads: Any, width: Any) -> None:
    """A head of no known width has a key of its own, or is one clear error."""
    config = {"head_dim": None, "num_attention_heads": heads, "hidden_size": width}
    try:
        found = shaping("mistral_layers", config)["head_dim"]
    except ModelFileError as error:
        assert str(error).isprintable()  # noqa: PT017 - some raise nothing
    else:
        assert found == (160 if (heads, width) == (32, 5120) else None)


@given(st.data())
def test_any_json(data: st.DataObject) -> None:
    """Whatever values a file has, there is a key or one clear error."""
    kind = data.draw(st.sampled_from(sorted(SHAPING)))
    config = data.draw(st.dictionaries(st.sampled_from(sorted(SHAPING[kind])), JSON, max_size=5))
    try:
        assert shaping(kind, config).keys() == SHAPING[kind].keys()
    except ModelFileError as error:
        assert str(error).isprintable()  # noqa: PT017 - most draws raise nothing
