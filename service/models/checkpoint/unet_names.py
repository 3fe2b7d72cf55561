"""Original names of tensors in the UNet and the VAE of Stable Diffusion.

They come from the `ldm` and `sgm` repositories of CompVis and Stability AI, whose UNet is one list of blocks: first the
convolution, then for each level its residual blocks and a downsampling; and the reverse for the outputs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..files import ModelFileError
from ..weights.pieces import Naming, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_BLOCK = re.compile(
    r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
# Layers of a VAE outside its halves, and the half that contains each in FLUX.2's.
_VAE_OUTSIDE = {"quant_conv": "encoder.", "post_quant_conv": "decoder.", "bn": ""}
_VAE_ENDS = {"conv_in": "conv_in", "conv_out": "conv_out", "conv_norm_out": "norm_out"}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_VAE_BLOCK = re.compile(
    r"(?:(?:down|up)_blocks\.(\d+)|mid_block)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)"
)


def unknown_parameter(name: str) -> ModelFileError:
    """Return the error for a parameter that a scheme of names does not know."""
    return ModelFileError(f"the original name of {name} is not known")


def ldm_unet(config: Mapping[str, Any], prefix: str) -> Naming:
    """Return the original names of a UNet with this config.json, below `prefix`."""
    layers = config["layers_per_block"] + 1
    attends = ["Attn" in kind for kind in config["up_block_types"]]

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        if layer in _UNET_ENDS:
            return (Piece(f"{prefix}{_UNET_ENDS[layer]}.{kind}"),)
        if not (found := _UNET_BLOCK.fullmatch(layer)):
            raise unknown_parameter(name)
        side, level, what, number, rest = found.groups()
        place = _unet_place(side, int(level or 0), what, int(number), layers, attends)
        if what == "resnets":
            rest = _UNET_RESNET.get(rest, rest)
        elif what == "downsamplers":
            rest = "op"
        return (Piece(f"{prefix}{place}.{rest}.{kind}"),)

    return naming


def _unet_place(side: str | None, level: int, what: str, number: int, layers: int, attends: Sequence[bool]) -> str:
    """Return the list and the numbers of a block; each level has `layers` blocks."""
    if what == "downsamplers":
        return f"input_blocks.{layers * (level + 1)}.0"
    if what == "upsamplers":
        after = level < len(attends) and attends[level]
        return f"output_blocks.{layers * (level + 1) - 1}.{2 if after else 1}"
    attention = int(what == "attentions")
    if side is None:
        return f"middle_block.{1 if attention else 2 * number}"
    if side == "down":
        return f"input_blocks.{layers * level + number + 1}.{attention}"
    return f"output_blocks.{layers * level + number}.{attention}"


def ldm_vae(config: Mapping[str, Any], prefix: str, *, nested: bool = False) -> Naming:
    """Return the original names of a VAE with this config.json, below `prefix`.

    Its attention is a convolution there: matrices [c, c] are stored as [c, c, 1, 1]. Its decoder numbers the levels
    from the image to the latents. `nested`: each half contains its convolution of the latents, as in FLUX.2's.
    """
    last = len(config["block_out_channels"]) - 1

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        half, _, rest = layer.partition(".")
        if layer in _VAE_OUTSIDE:
            return (Piece(f"{prefix}{_VAE_OUTSIDE[layer] if nested else ''}{layer}.{kind}"),)
        original = _vae_layer(rest, (lambda level: last - level) if half == "decoder" else int)
        if half not in ("encoder", "decoder") or original is None:
            raise unknown_parameter(name)
        return (Piece(f"{prefix}{half}.{original}.{kind}"),)

    return naming


def _vae_layer(layer: str, level_of: Callable[[int], int]) -> str | None:
    """Return the original name of a layer of one half of the VAE; None if it is not known."""
    if layer in _VAE_ENDS:
        return _VAE_ENDS[layer]
    if not (found := _VAE_BLOCK.fullmatch(layer)):
        return None
    block, what, number, rest = found.groups()
    if what == "attentions":
        return f"mid.attn_1.{_VAE_ATTENTION.get(rest, rest)}"
    rest = rest.replace("conv_shortcut", "nin_shortcut")
    if block is None:
        return f"mid.block_{int(number) + 1}.{rest}"
    place = f"{'up' if layer.startswith('up') else 'down'}.{level_of(int(block))}"
    return f"{place}.block.{number}.{rest}" if what == "resnets" else f"{place}.{what.removesuffix('rs')}.{rest}"
