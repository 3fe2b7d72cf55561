"""Layers of a pipeline, found by the names in published adapters.

Whatever separates its words, a layer is found by its name with underscores for dots, so that there is no list of names
here: PEFT's, diffusers', kohya's and LyCORIS's are all found so. UNets and FLUX have other names in the code that they
were published with, which tables translate. What is left is given to diffusers' own converters.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import diffusers
import numpy as np
import torch

from tintype.service.models.safetensors import shown

from ..quiet import quiet
from .adapter_file import KINDS, Change, Published, changes, grouped, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

# How names begin, and of which component they are; "" is the denoiser.
BEGINNINGS = {
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
"""T5 is the third encoder of SD3 and the second of FLUX; kohya calls it the third of both."""
# What older code calls a layer, without dots, and what it is called.
RENAMED = (("_processor", ""), ("to_out", "to_out_0"))
ENCODER_RENAMED = (("_to_q", "_q_proj"), ("_to_k", "_k_proj"), ("_to_v", "_v_proj"), ("_to_out", "_out_proj"))
# UNets in the code of their authors.
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
# FLUX in the code of its authors: several layers of diffusers' may be one there, one below the other.
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
"""Its halves, shift and scale, are the other way round in diffusers."""


@dataclass(frozen=True, slots=True)
class Place:
    """The layers that one change covers, their weights one below the other.

    `swapped` exchanges the halves.
    """

    part: str
    modules: tuple[str, ...]
    swapped: bool = False

    @property
    def name(self) -> str:
        """The component and its first layer."""
        return f"{self.part}.{self.modules[0]}"


class Layers:
    """The layers of each component by their names."""

    def __init__(self, parts: Mapping[str, Collection[str]]) -> None:
        self._flat = {part: {name.replace(".", "_"): name for name in names} for part, names in parts.items()}
        self.denoiser = "unet" if "unet" in parts else "transformer"
        self._blocks = dict(_unet_blocks(self._flat.get("unet", {})))

    def component(self, name: str) -> tuple[str, str]:
        """Return the component that a name belongs to, and the rest."""
        begin = next((begin for begin in BEGINNINGS if name.startswith(begin)), "")
        part = BEGINNINGS.get(begin) or self.denoiser
        if part == T5[0] and part not in self._flat:
            part = T5[1]
        return part, name.removeprefix(begin)

    def find(self, name: str) -> Place | None:
        """Return the layer that a published adapter calls `name`, or None."""
        part, rest = self.component(name)
        layer, names = rest.replace(".", "_"), self._flat.get(part, {})
        for candidate in (layer, *_renamed(layer), self._original(layer)):
            if candidate in names:
                return Place(part, (names[candidate],))
        several = _flux(layer)
        if part == "transformer" and all(candidate in names for candidate in several):
            return Place(part, tuple(names[candidate] for candidate in several), layer == SWAPPED)
        return None

    def _original(self, layer: str) -> str:
        block = UNET_BLOCK.fullmatch(layer)
        if layer in UNET_TOP or not block:
            return UNET_TOP.get(layer, layer)
        return f"{self._blocks.get(block[1], '')}_{UNET_LAYER.get(block[2], block[2])}"


def _unet_blocks(names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the original names of a UNet's blocks, with diffusers' names.

    The original code numbers the blocks consecutively.
    """
    there = {found[0] for found in map(DIFFUSERS_BLOCK.match, names) if found}
    yield from zip(("middle_block_0", "middle_block_1", "middle_block_2"), MIDDLE, strict=True)
    for side, kind, start in (("down", "input_blocks", 1), ("up", "output_blocks", 0)):
        for at, row in enumerate(_unet_rows(side, there), start):
            yield from ((f"{kind}_{at}_{n}", block) for n, block in enumerate(row))


def _unet_rows(side: str, there: Collection[str]) -> Iterator[list[str]]:
    """Yield a UNet's blocks of one side in order, grouped by number."""
    sizes = Counter(name.split("_")[2] for name in there if name.startswith(f"{side}_blocks_") and "resnets" in name)
    for b, count in sorted(sizes.items(), key=lambda size: int(size[0])):
        for n in range(count):
            row = [f"{side}_blocks_{b}_{kind}_{n}" for kind in ("resnets", "attentions")]
            row += [f"{side}_blocks_{b}_upsamplers_0"] if n == count - 1 else []
            yield [block for block in row if block in there]
        if f"{side}_blocks_{b}_downsamplers_0" in there:
            yield [f"{side}_blocks_{b}_downsamplers_0"]


def _flux(layer: str) -> tuple[str, ...]:
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


def known(file: Published, layers: Layers, model: Path) -> Published:
    """Return a file with the names of all layers known.

    diffusers' converters are used where our own names do not suffice. Raises Refused for a layer that the model has
    not, and where a converter leaves something out.
    """
    strange = next((change for change in file.changes if layers.find(change.name) is None), None)
    if strange is None:
        return file
    converted = _converted(file, layers, model)
    if all(layers.find(change.name) for change in converted.changes):
        return converted
    part, rest = layers.component(strange.name)
    name = shown(f"{part}.{rest}")
    raise file.refuse(f"changes {name}, which takes none in this model: the adapter was made for another one")


def _converted(file: Published, layers: Layers, model: Path) -> Published:
    """Return a file renamed by the converters of the model's pipeline.

    A file that they do not know is returned unchanged. They leave out without a word what they do not know. So each
    layer is numbered first, in place of its values: a number that does not come back was left out, and then nothing is
    converted.
    """
    plain = all(change.kind is KINDS[0] and set(change.fields) <= {"up", "down", "alpha"} for change in file.changes)
    convert = _converter(model) if plain else None
    if convert is None:
        return file
    try:
        with quiet():
            back = convert(_numbered(file.changes)).values()
            missing = {*range(1, len(file.changes) + 1)}.difference(*(tensor.unique().tolist() for tensor in back))
            said = {} if missing else convert(_with_scale(file, layers))
        names = {name: tensor for name, tensor in said.items() if not name.endswith("alpha")}
        made = changes(grouped(names), lambda name: names[name].float().numpy())
    except Exception:  # noqa: BLE001 - they fail in as many ways as there are files
        return file
    return replace(file, changes=made, notes={})


def _converter(model: Path) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None:
    """Return diffusers' converter of tensor names for a pipeline, or None.

    None means that the pipeline takes no adapters.
    """
    index = json.loads((model / "model_index.json").read_text(encoding="utf-8"))
    kind = getattr(diffusers, index["_class_name"])
    if not hasattr(kind, "lora_state_dict"):
        return None
    config = model / "unet" / "config.json"
    options = {"unet_config": SimpleNamespace(**json.loads(config.read_text("utf-8")))} if config.exists() else {}

    def convert(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        said = kind.lora_state_dict(dict(tensors), **options)
        made: dict[str, torch.Tensor] = said[0] if isinstance(said, tuple) else said
        return made

    return convert


def _numbered(changes: Sequence[Change]) -> dict[str, torch.Tensor]:
    """Return tensors of changes, each filled with its change's number."""
    return _tensors(changes, lambda n, _, array: torch.full((1,) * array.ndim, float(n)).expand(array.shape))


def _with_scale(file: Published, layers: Layers) -> dict[str, torch.Tensor]:
    """Return the tensors of changes with their scale in B."""

    def value(n: int, role: str, array: Any) -> torch.Tensor:
        change = file.changes[n - 1]
        scale = scaled(file, change, *layers.component(change.name)) if role == "up" else 1.0
        return torch.from_numpy(array * np.float32(scale))

    return _tensors(file.changes, value)


def _tensors(changes: Sequence[Change], value: Callable[[int, str, Any], torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors by the file's names, with alphas that change nothing.

    An alpha equals its rank.
    """
    return {
        key: torch.tensor(float(change.rank)) if role == "alpha" else value(n, role, change.fields[role])
        for n, change in enumerate(changes, 1)
        for role, key in change.keys.items()
    }
