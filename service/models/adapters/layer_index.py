"""Find a model's layers by their names in published adapters.

Names are compared with underscores in place of dots, so the names of PEFT, diffusers, kohya and LyCORIS need no table.
The layers of UNets and transformers have other names in their authors' code, which `published_names` translates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import published_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
    "text_encoder_3.": "text_encoder_3",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder.": "text_encoder",
    "unet.": "unet",
    "transformer.": "transformer",
}
T5 = ("text_encoder_3", "text_encoder_2")
"""T5 is the third encoder of SD3 and the second of FLUX; kohya names it the third of both."""
JOINT_BLOCK = re.compile(r"transformer_blocks_(\d+)_attn_add_q_proj")
QWEN_BLOCK = re.compile(r"transformer_blocks_(\d+)_img_mod_1")


@dataclass(frozen=True, slots=True)
class LayerMatch:
    """The layers that one change covers, stacked along the outputs; `swapped` exchanges the two halves.

    `repeated`: some files have these layers under their own names too, with the same change.
    """

    part: str
    modules: tuple[str, ...]
    swapped: bool = False
    repeated: bool = False

    @property
    def name(self) -> str:
        """The component and the first layer, joined by a dot."""
        return f"{self.part}.{self.modules[0]}"

    def is_within(self, parts: Mapping[str, Collection[str]]) -> bool:
        """Whether all of its layers are among those of each component in `parts`."""
        return all(module in parts.get(self.part, ()) for module in self.modules)


class LayerIndex:
    """The layers of each component, by name."""

    def __init__(self, parts: Mapping[str, Collection[str]]) -> None:
        self._flat = {part: {name.replace(".", "_"): name for name in names} for part, names in parts.items()}
        self.denoiser = "unet" if "unet" in parts else "transformer"
        self._blocks = dict(published_names.unet_blocks(self._flat.get("unet", {})))
        self._last_joint, self._last_of_qwen = self._last(JOINT_BLOCK), self._last(QWEN_BLOCK)

    def _last(self, block: re.Pattern[str]) -> int:
        """Return the highest number of blocks with such a layer; -1 without any."""
        found = (block.fullmatch(name) for name in self._flat.get("transformer", {}))
        return max((int(each[1]) for each in found if each), default=-1)

    def is_unread(self, name: str) -> bool:
        """Return whether a layer that a published adapter calls `name` has no effect on the result."""
        part, rest = self.component(name)
        found = published_names.UNREAD.fullmatch(rest.replace(".", "_")) if part == "transformer" else None
        return found is not None and int(found[1]) == self._last_of_qwen

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
        for candidate in (layer, *published_names.older_layers(layer), published_names.CLIP + layer):
            if candidate in names:
                return LayerMatch(part, (names[candidate],))
        if part == "unet":
            candidate = published_names.unet_layer(layer, self._blocks)
            return LayerMatch(part, (names[candidate],)) if candidate in names else None
        several = published_names.transformer_layers(layer) if part == "transformer" else ()
        for candidates in several:
            if all(candidate in names for candidate in candidates):
                modules = tuple(names[candidate] for candidate in candidates)
                repeated = bool(published_names.REPEATED.search(layer))
                return LayerMatch(part, modules, self._is_swapped(layer, modules[0]), repeated)
        return None

    def _is_swapped(self, layer: str, module: str) -> bool:
        context = published_names.CONTEXT_NORM.fullmatch(layer)
        return (layer, module) == published_names.FINAL_NORM or bool(context and int(context[1]) == self._last_joint)
