"""Names of layers in the authors' code of each architecture, and those of diffusers; dots are underscores.

One layer of the authors may be several in diffusers, stacked along the outputs.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    LayerTable = Mapping[str, tuple[str, ...]]

# Ends and parts of layer names in older code -> those of today.
RENAMED = (("_processor", ""), ("to_out", "to_out_0"))
ENCODER_RENAMED = (("_to_q", "_q_proj"), ("_to_k", "_k_proj"), ("_to_v", "_v_proj"), ("_to_out", "_out_proj"))

# CLIP's layers begin with this, unless transformers 5 named them.
CLIP = "text_model_"

# UNets: https://github.com/Stability-AI/generative-models
UNET_BLOCK = re.compile(r"((?:input_blocks|output_blocks)_\d+_\d+|middle_block_\d+)_(.+)")
DIFFUSERS_BLOCK = re.compile(r"(?:down|up)_blocks_\d+_[a-z]+_\d+")
MIDDLE = ("mid_block_resnets_0", "mid_block_attentions_0", "mid_block_resnets_1")
UNET_TOP = {
    "input_blocks_0_0": "conv_in",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
    "out_0": "conv_norm_out",
    "out_2": "conv_out",
}
UNET_LAYER = {
    "in_layers_0": "norm1",
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_0": "norm2",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
    "op": "conv",
}

# FLUX: https://github.com/black-forest-labs/flux; names with `processor` are XLabs'.
FLUX_LAYER: LayerTable = {
    "img_attn_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "txt_attn_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "img_attn_proj": ("attn_to_out_0",),
    "txt_attn_proj": ("attn_to_add_out",),
    "img_mlp_0": ("ff_net_0_proj",),
    "img_mlp_2": ("ff_net_2",),
    "txt_mlp_0": ("ff_context_net_0_proj",),
    "txt_mlp_2": ("ff_context_net_2",),
    "img_mod_lin": ("norm1_linear",),
    "txt_mod_lin": ("norm1_context_linear",),
    "processor_qkv_lora1": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "processor_qkv_lora2": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "processor_proj_lora1": ("attn_to_out_0",),
    "processor_proj_lora2": ("attn_to_add_out",),
}
FLUX_SINGLE_LAYER: LayerTable = {
    "linear1": ("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm_linear",),
    "processor_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "processor_proj": ("proj_out",),
}
AURA_MLP = (("c_fc1", "linear_1"), ("c_fc2", "linear_2"), ("c_proj", "out_projection"))
# FLUX.2: https://github.com/black-forest-labs/flux2; single blocks join attention and MLP in diffusers too.
FLUX2_LAYER: LayerTable = {
    "img_attn_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "txt_attn_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "img_attn_proj": ("attn_to_out_0",),
    "txt_attn_proj": ("attn_to_add_out",),
    "img_mlp_0": ("ff_linear_in",),
    "img_mlp_2": ("ff_linear_out",),
    "txt_mlp_0": ("ff_context_linear_in",),
    "txt_mlp_2": ("ff_context_linear_out",),
}
FLUX2_SINGLE_LAYER: LayerTable = {"linear1": ("attn_to_qkv_mlp_proj",), "linear2": ("attn_to_out",)}
# Chroma: https://github.com/lodestone-rock/flow; AuraFlow: https://github.com/cloneofsimo/minRF. In blocks for both,
# AuraFlow numbers text 1 and image 2.
CHROMA_LAYER: LayerTable = {"in_layer": ("linear_1",), "out_layer": ("linear_2",)}
AURA_LAYER: LayerTable = {
    **{f"attn_w2{letter}": (f"attn_to_{letter}",) for letter in "qkv"},
    **{f"attn_w1{letter}": (f"attn_add_{letter}_proj",) for letter in "qkv"},
    "attn_w2o": ("attn_to_out_0",),
    "attn_w1o": ("attn_to_add_out",),
    "modX_1": ("norm1_linear",),
    "modC_1": ("norm1_context_linear",),
    **{f"mlpX_{own}": (f"ff_{name}",) for own, name in AURA_MLP},
    **{f"mlpC_{own}": (f"ff_context_{name}",) for own, name in AURA_MLP},
}
AURA_SINGLE_LAYER: LayerTable = {
    **{f"attn_w1{letter}": (f"attn_to_{letter}",) for letter in "qkv"},
    "attn_w1o": ("attn_to_out_0",),
    "modCX_1": ("norm1_linear",),
    **{f"mlp_{own}": (f"ff_{name}",) for own, name in AURA_MLP},
}
# Layers that diffusers joins on demand, as for LoKr.
JOINED_LAYER: LayerTable = {
    "attn_to_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "attn_to_added_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
}
# SD3: https://github.com/Stability-AI/sd3.5
SD3_LAYER: LayerTable = {
    "x_block_attn_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "x_block_attn_proj": ("attn_to_out_0",),
    "x_block_attn2_qkv": ("attn2_to_q", "attn2_to_k", "attn2_to_v"),
    "x_block_attn2_proj": ("attn2_to_out_0",),
    "x_block_mlp_fc1": ("ff_net_0_proj",),
    "x_block_mlp_fc2": ("ff_net_2",),
    "x_block_adaLN_modulation_1": ("norm1_linear",),
    "context_block_attn_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "context_block_attn_proj": ("attn_to_add_out",),
    "context_block_mlp_fc1": ("ff_context_net_0_proj",),
    "context_block_mlp_fc2": ("ff_context_net_2",),
    "context_block_adaLN_modulation_1": ("norm1_context_linear",),
}
# PixArt: https://github.com/PixArt-alpha/PixArt-sigma; Sana: https://github.com/NVlabs/Sana
PIXART_LAYER: LayerTable = {
    "attn_qkv": ("attn1_to_q", "attn1_to_k", "attn1_to_v"),
    "attn_proj": ("attn1_to_out_0",),
    "cross_attn_q_linear": ("attn2_to_q",),
    "cross_attn_kv_linear": ("attn2_to_k", "attn2_to_v"),
    "cross_attn_proj": ("attn2_to_out_0",),
    "mlp_fc1": ("ff_net_0_proj",),
    "mlp_fc2": ("ff_net_2",),
    "mlp_inverted_conv_conv": ("ff_conv_inverted",),
    "mlp_depth_conv_conv": ("ff_conv_depth",),
    "mlp_point_conv_conv": ("ff_conv_point",),
}
# Z-Image: https://github.com/Tongyi-MAI/Z-Image; Lumina-Image 2: https://github.com/Alpha-VLLM/Lumina-Image-2.0
Z_IMAGE_LAYER: LayerTable = {
    "attention_qkv": ("attention_to_q", "attention_to_k", "attention_to_v"),
    "attention_out": ("attention_to_out_0",),
}
# Some trainers of Z-Image write these layers next to the parts that diffusers makes of them.
REPEATED = re.compile(r"_attention_(qkv|out)$")
LUMINA2_LAYER: LayerTable = {
    "attention_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "attention_out": ("attn_to_out_0",),
    "feed_forward_w1": ("feed_forward_linear_1",),
    "feed_forward_w2": ("feed_forward_linear_2",),
    "feed_forward_w3": ("feed_forward_linear_3",),
    "adaLN_modulation_1": ("norm1_linear",),
}
# Name of blocks in files -> that of diffusers, and the layers in them; several architectures use one name.
BLOCKS: dict[str, tuple[str, tuple[LayerTable, ...]]] = {
    "double_blocks": ("transformer_blocks", (FLUX_LAYER, FLUX2_LAYER)),
    "single_blocks": ("single_transformer_blocks", (FLUX_SINGLE_LAYER, FLUX2_SINGLE_LAYER)),
    "double_layers": ("joint_transformer_blocks", (AURA_LAYER,)),
    "single_layers": ("single_transformer_blocks", (AURA_SINGLE_LAYER,)),
    "distilled_guidance_layer_layers": ("distilled_guidance_layer_layers", (CHROMA_LAYER,)),
    "joint_blocks": ("transformer_blocks", (SD3_LAYER,)),
    "transformer_blocks": ("transformer_blocks", (JOINED_LAYER,)),
    "sformer_blocks": ("transformer_blocks", (JOINED_LAYER,)),  # as some trainers of FLUX.2 cut the name
    "blocks": ("transformer_blocks", (PIXART_LAYER,)),
    "layers": ("layers", (Z_IMAGE_LAYER, LUMINA2_LAYER)),
    "noise_refiner": ("noise_refiner", (Z_IMAGE_LAYER, LUMINA2_LAYER)),
    "context_refiner": ("context_refiner", (Z_IMAGE_LAYER, LUMINA2_LAYER)),
}
BLOCK = re.compile(rf"({'|'.join(BLOCKS)})_(\d+)_(.+)")
TIME_EMBEDDINGS = ("time_text_embed", "adaln_single_emb", "time_embed_emb", "time_caption_embed")
FLUX_EMBEDDINGS = ("time_text_embed", "time_guidance_embed")
# Layers outside blocks: several architectures use one name, so each may have several in diffusers.
TOP = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in_in_layer": tuple(f"{place}_timestep_embedder_linear_1" for place in FLUX_EMBEDDINGS),
    "time_in_out_layer": tuple(f"{place}_timestep_embedder_linear_2" for place in FLUX_EMBEDDINGS),
    "vector_in_in_layer": ("time_text_embed_text_embedder_linear_1",),
    "vector_in_out_layer": ("time_text_embed_text_embedder_linear_2",),
    "guidance_in_in_layer": tuple(f"{place}_guidance_embedder_linear_1" for place in FLUX_EMBEDDINGS),
    "guidance_in_out_layer": tuple(f"{place}_guidance_embedder_linear_2" for place in FLUX_EMBEDDINGS),
    "double_stream_modulation_img_lin": ("double_stream_modulation_img_linear",),
    "double_stream_modulation_txt_lin": ("double_stream_modulation_txt_linear",),
    "single_stream_modulation_lin": ("single_stream_modulation_linear",),
    "final_layer_linear": ("proj_out", "all_final_layer_2-1_linear", "norm_out_linear_2"),
    "final_layer_adaLN_modulation_1": (
        "norm_out_linear",
        "all_final_layer_2-1_adaLN_modulation_1",
        "norm_out_linear_1",
    ),
    "x_embedder": ("all_x_embedder_2-1",),
    "cap_embedder_1": ("time_caption_embed_caption_embedder_1",),
    "x_embedder_proj": ("pos_embed_proj", "patch_embed_proj"),
    "t_embedder_mlp_0": tuple(f"{place}_timestep_embedder_linear_1" for place in TIME_EMBEDDINGS),
    "t_embedder_mlp_2": tuple(f"{place}_timestep_embedder_linear_2" for place in TIME_EMBEDDINGS),
    "y_embedder_mlp_0": ("time_text_embed_text_embedder_linear_1",),
    "y_embedder_mlp_2": ("time_text_embed_text_embedder_linear_2",),
    "y_embedder_y_proj_fc1": ("caption_projection_linear_1",),
    "y_embedder_y_proj_fc2": ("caption_projection_linear_2",),
    "t_block_1": ("adaln_single_linear", "time_embed_linear"),
}
UNREAD = re.compile(r"transformer_blocks_(\d+)_(?:attn_to_add_out|txt_mlp_net_(?:0_proj|2))")
"""Layers that change the text; what Qwen-Image's last block makes of it is not read, so that graphs lack them there."""
FINAL_NORM = ("final_layer_adaLN_modulation_1", "norm_out.linear")
CONTEXT_NORM = re.compile(r"joint_blocks_(\d+)_context_block_adaLN_modulation_1")
"""Layers whose halves, shift and scale, have the opposite order in diffusers; of SD3's context norms only the last.

The norm at the end has them only if diffusers gives it that name.
"""


def unet_blocks(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each UNet block's name in the authors' code, which numbers blocks consecutively, and in diffusers."""
    blocks = {found[0] for found in map(DIFFUSERS_BLOCK.match, names) if found}
    yield from zip(("middle_block_0", "middle_block_1", "middle_block_2"), MIDDLE, strict=True)
    for side, kind, start in (("down", "input_blocks", 1), ("up", "output_blocks", 0)):
        for at, row in enumerate(_unet_rows(side, blocks), start):
            yield from ((f"{kind}_{at}_{n}", block) for n, block in enumerate(row))


def _unet_rows(side: str, blocks: Collection[str]) -> Iterator[list[str]]:
    """Yield the blocks of one side of a UNet in order, grouped by the authors' number.

    All levels but the last end in a change of size, even if no name shows it: a graph may take adapters of linear
    layers only.
    """
    sizes = Counter(name.split("_")[2] for name in blocks if name.startswith(f"{side}_blocks_") and "resnets" in name)
    levels = sorted(sizes, key=int)
    for level in levels:
        changes_size = level != levels[-1]
        for n in range(sizes[level]):
            row = [f"{side}_blocks_{level}_{kind}_{n}" for kind in ("resnets", "attentions")]
            row = [block for block in row if block in blocks]
            last = side == "up" and n == sizes[level] - 1 and changes_size
            yield [*row, f"{side}_blocks_{level}_upsamplers_0"] if last else row
        if side == "down" and changes_size:
            yield [f"{side}_blocks_{level}_downsamplers_0"]


def unet_layer(layer: str, blocks: Mapping[str, str]) -> str:
    """Return diffusers' name of a UNet's layer; `blocks` are the names of its blocks (`unet_blocks`)."""
    block = UNET_BLOCK.fullmatch(layer)
    if layer in UNET_TOP or not block:
        return UNET_TOP.get(layer, layer)
    return f"{blocks.get(block[1], '')}_{UNET_LAYER.get(block[2], block[2])}"


def transformer_layers(layer: str) -> Iterator[tuple[str, ...]]:
    """Yield the possible names in diffusers of a transformer's layer, each as the layers that make it up."""
    block = BLOCK.fullmatch(layer)
    if block:
        prefix, tables = BLOCKS[block[1]]
        for table in tables:
            yield tuple(f"{prefix}_{block[2]}_{name}" for name in table.get(block[3], (block[3],)))
    for name in TOP.get(layer, (layer,)):
        yield (name,)


def older_layers(layer: str) -> tuple[str, ...]:
    """Return today's possible names of a layer in older code of diffusers."""
    plain = encoder = layer
    for old, new in RENAMED:
        plain = plain.replace(old, new)
    for old, new in ENCODER_RENAMED:
        encoder = encoder.replace(old, new)
    return plain.removesuffix("_lora"), layer.replace("_processor", ""), encoder
