"""Layers are found by the names of PEFT, diffusers, kohya, and the models' authors."""

from __future__ import annotations

from functools import cache

import pytest

from tintype.service.models.adapters.layer_index import LayerIndex

SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, 64, 96),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
}
FIRST, MIDDLE = "transformer_blocks.0", "mid_block.attentions.0"
NAMES = {
    "sd": (
        ("lora_unet_down_blocks_0_resnets_1_conv2", "down_blocks.0.resnets.1.conv2"),
        ("lora_unet_mid_block_attentions_0_proj_in", "mid_block.attentions.0.proj_in"),
        ("lora_unet_time_embedding_linear_2", "time_embedding.linear_2"),
        (f"unet.up_blocks.3.attentions.2.{FIRST}.attn1.to_q", f"up_blocks.3.attentions.2.{FIRST}.attn1.to_q"),
        (f"unet.{MIDDLE}.{FIRST}.attn1.processor.to_out", f"{MIDDLE}.{FIRST}.attn1.to_out.0"),
        ("base_model.model.conv_in", "conv_in"),
        ("lycoris_conv_out", "conv_out"),
        ("lora_unet_input_blocks_11_0_in_layers_2", "down_blocks.3.resnets.1.conv1"),
        ("lora_unet_output_blocks_2_1_conv", "up_blocks.0.upsamplers.0.conv"),
        ("lora_unet_output_blocks_5_2_conv", "up_blocks.1.upsamplers.0.conv"),
    ),
    "sdxl": (
        ("lora_unet_input_blocks_0_0", "conv_in"),
        ("lora_unet_input_blocks_1_0_in_layers_2", "down_blocks.0.resnets.0.conv1"),
        ("lora_unet_input_blocks_2_0_out_layers_3", "down_blocks.0.resnets.1.conv2"),
        ("lora_unet_input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
        ("lora_unet_input_blocks_4_0_skip_connection", "down_blocks.1.resnets.0.conv_shortcut"),
        ("lora_unet_input_blocks_8_1_proj_out", "down_blocks.2.attentions.1.proj_out"),
        ("lora_unet_middle_block_2_emb_layers_1", "mid_block.resnets.1.time_emb_proj"),
        ("lora_unet_output_blocks_0_1_transformer_blocks_0_ff_net_2", f"up_blocks.0.attentions.0.{FIRST}.ff.net.2"),
        ("lora_unet_output_blocks_5_2_conv", "up_blocks.1.upsamplers.0.conv"),
        ("lora_unet_output_blocks_8_0_in_layers_0", "up_blocks.2.resnets.2.norm1"),
        ("lora_unet_label_emb_0_2", "add_embedding.linear_2"),
        ("lora_unet_time_embed_0", "time_embedding.linear_1"),
        ("model.diffusion_model.out.2", "conv_out"),
    ),
}  # fmt: skip


@cache
def layers(kind: str, *, linear_only: bool = False) -> LayerIndex:
    """Return the layers of a UNet with as many blocks as the published ones."""
    diffusers, torch = pytest.importorskip("diffusers"), pytest.importorskip("torch")
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(
            **{"block_out_channels": (32, 64, 64, 64)} | (SDXL if kind == "sdxl" else {}), cross_attention_dim=32
        )
    named = [(name, layer) for name, layer in unet.named_modules() if hasattr(layer, "weight")]
    found = [name for name, layer in named if not linear_only or isinstance(layer, torch.nn.Linear)]
    return LayerIndex({"unet": found})


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name", "module"), [(kind, *row) for kind, rows in NAMES.items() for row in rows])
def test_unet_layers_are_found_by_published_names(kind: str, name: str, module: str) -> None:
    """Blocks are numbered consecutively by the authors, and per block in diffusers."""
    place = layers(kind).find(name)
    assert place is not None
    assert (place.part, place.modules) == ("unet", (module,))


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "name", "module"), [(kind, *row) for kind, rows in NAMES.items() for row in rows])
def test_blocks_are_numbered_without_convolutions(kind: str, name: str, module: str) -> None:
    """A graph that takes adapters of linear layers only shows no change of size, which has a number of its own."""
    place = layers(kind, linear_only=True).find(name)
    assert place is None or place.modules == (module,)
    assert place or "attn" not in module


def test_flux_layers_are_found_by_published_names() -> None:
    """One layer of the authors may be several in diffusers; the halves of the last norm are swapped."""
    names = [f"transformer_blocks.0.attn.to_{side}" for side in "qkv"]
    found = LayerIndex({"transformer": [*names, "norm_out.linear"], "text_encoder_2": ["layer"]})
    place = found.find("diffusion_model.double_blocks.0.img_attn.qkv")
    assert place is not None
    assert (place.modules, place.swapped) == (tuple(names), False)
    last = found.find("lora_unet_final_layer_adaLN_modulation_1")
    assert last is not None
    assert (last.modules, last.swapped) == (("norm_out.linear",), True)
    assert found.find("lora_unet_double_blocks_1_img_attn_qkv") is None
    t5 = found.find("lora_te3_layer")
    assert t5 is not None
    assert t5.part == "text_encoder_2"


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_layers_of_clip_are_found_with_and_without_their_prefix(prefix: str) -> None:
    """Transformers 5 dropped `text_model` from the names, and so do adapters that are trained with it."""
    name = "text_model.encoder.layers.0.mlp.fc1"
    place = LayerIndex({"unet": [], "text_encoder": [name]}).find(f"text_encoder.{prefix}encoder.layers.0.mlp.fc1")
    assert place is not None
    assert place.modules == (name,)


CHROMA = {
    "lora_unet_double_blocks_0_txt_attn_qkv": tuple(f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"),
    "diffusion_model.single_blocks.1.linear2": ("single_transformer_blocks.1.proj_out",),
    "diffusion_model.distilled_guidance_layer.layers.3.in_layer": ("distilled_guidance_layer.layers.3.linear_1",),
    "transformer.distilled_guidance_layer.in_proj": ("distilled_guidance_layer.in_proj",),
}
AURA_FLOW = {
    "lora_unet_double_layers_0_attn_w2q": ("joint_transformer_blocks.0.attn.to_q",),
    "model.diffusion_model.double_layers.0.attn.w1o": ("joint_transformer_blocks.0.attn.to_add_out",),
    "lora_unet_double_layers_1_mlpC_c_proj": ("joint_transformer_blocks.1.ff_context.out_projection",),
    "lora_unet_single_layers_2_attn_w1k": ("single_transformer_blocks.2.attn.to_k",),
    "lora_unet_single_layers_2_modCX_1": ("single_transformer_blocks.2.norm1.linear",),
}


@pytest.mark.parametrize(("name", "modules"), [*CHROMA.items(), *AURA_FLOW.items()])
def test_layers_of_chroma_and_aura_flow_are_found(name: str, modules: tuple[str, ...]) -> None:
    """By the names of their authors and of diffusers."""
    layers = [layer for found in (CHROMA | AURA_FLOW).values() for layer in found]
    place = LayerIndex({"transformer": layers}).find(name)
    assert place is not None
    assert (place.modules, place.swapped) == (modules, False)


def test_the_last_context_norm_of_sd3_is_swapped() -> None:
    """Only that of the last block: it has a shift and a scale, and no gates."""
    names = [
        f"transformer_blocks.{n}.{layer}" for n in (9, 10) for layer in ("attn.add_q_proj", "norm1_context.linear")
    ]
    found = LayerIndex({"transformer": names})
    places = [found.find(f"lora_unet_joint_blocks_{n}_context_block_adaLN_modulation_1") for n in (9, 10)]
    assert [place and (place.modules, place.swapped) for place in places] == [
        (("transformer_blocks.9.norm1_context.linear",), False),
        (("transformer_blocks.10.norm1_context.linear",), True),
    ]


@pytest.mark.parametrize("layer", ["attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2"])
def test_the_text_after_qwen_images_last_block_is_not_read(layer: str) -> None:
    """A change of it has no effect there; in other blocks, and in other architectures, it has."""
    found = LayerIndex({"transformer": [f"transformer_blocks.{n}.img_mod.1" for n in (0, 1, 10)]})
    names = [f"transformer_blocks.{n}.{layer}" for n in (0, 1, 10)]
    assert [found.is_unread(name) for name in names] == [False, False, True]
    assert found.is_unread(f"lora_unet_{names[2].replace('.', '_')}")
    assert not LayerIndex({"transformer": ["transformer_blocks.10.attn.to_q"]}).is_unread(names[2])
    assert not found.is_unread("transformer_blocks.10.attn.add_q_proj")


def test_unknown_names_are_not_found() -> None:
    """A missing layer, a missing component, and incomplete names."""
    index = LayerIndex({"unet": ["conv_in", "down_blocks.0.resnets.0.conv1"]})
    for name in ("lora_unet_input_blocks_99_0_op", "lora_te2_fc1", "unet.conv", "lora_unet_", "", "unet.conv_in.x"):
        assert index.find(name) is None
