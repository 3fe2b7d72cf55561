"""Find a pipeline's layers by their names in published adapters.

Names are compared with underscores in place of dots, so the names of PEFT, diffusers, kohya and LyCORIS need no table.
The layers of UNets and FLUX have other names in their authors' code, which tables translate. For any other name
`adapters.converters` tries diffusers' own converters.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

# Prefix of a name -> the component; "" is the denoiser.
PREFIXES = {
    "lora_unet_": "",
    "lora_transformer_": "",
    "lycoris_": "",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "lora_te_": "text_encoder",
    "base_model.model.": "",
    "model.diffusion_model.": "",
    "diffusion_model.": "",
    "text_encoder_3.": "text_encoder_3",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder.": "text_encoder",
    "unet.": "unet",
    "transformer.": "transformer",
}
T5 = ("text_encoder_3", "text_encoder_2")
"""T5 is the third encoder of SD3 and the second of FLUX; kohya names it the third of both."""
# Ends and parts of layer names in older code -> those of today, with underscores.
RENAMED = (("_processor", ""), ("to_out", "to_out_0"))
ENCODER_RENAMED = (("_to_q", "_q_proj"), ("_to_k", "_k_proj"), ("_to_v", "_v_proj"), ("_to_out", "_out_proj"))
# Names of UNet layers in the authors' code.
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
# Names of FLUX layers in the authors' code; one layer there may be several in diffusers, stacked along the outputs.
FLUX_BLOCK = re.compile(r"(double|single)_blocks_(\d+)_(.+)")
FLUX_BLOCKS = {"double": "transformer_blocks", "single": "single_transformer_blocks"}
FLUX_LAYER = {
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
    "linear1": ("attn_to_q", "attn_to_k", "attn_to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm_linear",),
}
FLUX_TOP = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in_in_layer": "time_text_embed_timestep_embedder_linear_1",
    "time_in_out_layer": "time_text_embed_timestep_embedder_linear_2",
    "vector_in_in_layer": "time_text_embed_text_embedder_linear_1",
    "vector_in_out_layer": "time_text_embed_text_embedder_linear_2",
    "guidance_in_in_layer": "time_text_embed_guidance_embedder_linear_1",
    "guidance_in_out_layer": "time_text_embed_guidance_embedder_linear_2",
    "final_layer_linear": "proj_out",
    "final_layer_adaLN_modulation_1": "norm_out_linear",
}
SWAPPED = "final_layer_adaLN_modulation_1"
"""The layer whose halves, shift and scale, have the opposite order in diffusers."""


@dataclass(frozen=True, slots=True)
class LayerMatch:
    """The layers that one change covers, stacked along the outputs; `swapped` exchanges the two halves."""

    part: str
    modules: tuple[str, ...]
    swapped: bool = False

    @property
    def name(self) -> str:
        """The component and the first layer, joined by a dot."""
        return f"{self.part}.{self.modules[0]}"


class LayerIndex:
    """The layers of each component, by name."""

    def __init__(self, parts: Mapping[str, Collection[str]]) -> None:
        self._flat = {part: {name.replace(".", "_"): name for name in names} for part, names in parts.items()}
        self.denoiser = "unet" if "unet" in parts else "transformer"
        self._blocks = dict(_unet_blocks(self._flat.get("unet", {})))

    def component(self, name: str) -> tuple[str, str]:
        """Return the component that a name belongs to, and the name without its prefix."""
        prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), "")
        part = PREFIXES.get(prefix) or self.denoiser
        if part == T5[0] and part not in self._flat:
            part = T5[1]
        return part, name.removeprefix(prefix)

    def find(self, name: str) -> LayerMatch | None:
        """Return the layers that a published adapter calls `name`, or None."""
        part, rest = self.component(name)
        layer, names = rest.replace(".", "_"), self._flat.get(part, {})
        for candidate in (layer, *_renamed(layer), self._from_unet_name(layer)):
            if candidate in names:
                return LayerMatch(part, (names[candidate],))
        several = _from_flux_name(layer)
        if part == "transformer" and all(candidate in names for candidate in several):
            return LayerMatch(part, tuple(names[candidate] for candidate in several), layer == SWAPPED)
        return None

    def _from_unet_name(self, layer: str) -> str:
        block = UNET_BLOCK.fullmatch(layer)
        if layer in UNET_TOP or not block:
            return UNET_TOP.get(layer, layer)
        return f"{self._blocks.get(block[1], '')}_{UNET_LAYER.get(block[2], block[2])}"


def _unet_blocks(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each UNet block's name in the authors' code, which numbers blocks consecutively, and in diffusers."""
    blocks = {found[0] for found in map(DIFFUSERS_BLOCK.match, names) if found}
    yield from zip(("middle_block_0", "middle_block_1", "middle_block_2"), MIDDLE, strict=True)
    for side, kind, start in (("down", "input_blocks", 1), ("up", "output_blocks", 0)):
        for at, row in enumerate(_unet_rows(side, blocks), start):
            yield from ((f"{kind}_{at}_{n}", block) for n, block in enumerate(row))


def _unet_rows(side: str, blocks: Collection[str]) -> Iterator[list[str]]:
    """Yield the blocks of one side of a UNet in order, grouped by the authors' number."""
    sizes = Counter(name.split("_")[2] for name in blocks if name.startswith(f"{side}_blocks_") and "resnets" in name)
    for b, count in sorted(sizes.items(), key=lambda size: int(size[0])):
        for n in range(count):
            row = [f"{side}_blocks_{b}_{kind}_{n}" for kind in ("resnets", "attentions")]
            row += [f"{side}_blocks_{b}_upsamplers_0"] if n == count - 1 else []
            yield [block for block in row if block in blocks]
        if f"{side}_blocks_{b}_downsamplers_0" in blocks:
            yield [f"{side}_blocks_{b}_downsamplers_0"]


def _from_flux_name(layer: str) -> tuple[str, ...]:
    block = FLUX_BLOCK.fullmatch(layer)
    if block:
        return tuple(f"{FLUX_BLOCKS[block[1]]}_{block[2]}_{name}" for name in FLUX_LAYER.get(block[3], (block[3],)))
    return (FLUX_TOP.get(layer, layer),)


def _renamed(layer: str) -> tuple[str, ...]:
    plain = encoder = layer
    for old, new in RENAMED:
        plain = plain.replace(old, new)
    for old, new in ENCODER_RENAMED:
        encoder = encoder.replace(old, new)
    return plain.removesuffix("_lora"), layer.replace("_processor", ""), encoder
