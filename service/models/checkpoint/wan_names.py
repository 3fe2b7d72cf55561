"""The autoencoder of Wan, which Qwen-Image has too, in its original names: https://github.com/Wan-Video/Wan2.1."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..templates.filling import Component
from ..weights.pieces import ComponentWeights, Piece

if TYPE_CHECKING:
    from .header import Header

ANCHOR = "decoder.middle.0.residual.0.gamma"
RESIDUALS = 2  # residual blocks of a level; the decoder has one more
_ENDS = {
    "quant_conv": "conv1",
    "post_quant_conv": "conv2",
    **{f"{half}.conv_in": f"{half}.conv1" for half in ("encoder", "decoder")},
    **{f"{half}.norm_out": f"{half}.head.0" for half in ("encoder", "decoder")},
    **{f"{half}.conv_out": f"{half}.head.2" for half in ("encoder", "decoder")},
}
_RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
_MIDDLE = re.compile(r"(\w+)\.mid_block\.(resnets|attentions)\.(\d)\.(.+)")
_DOWN = re.compile(r"encoder\.down_blocks\.(\d+)\.(.+)")
_UP = re.compile(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d)\.(.+)")


def wan_vae(header: Header, prefix: str) -> Component:
    """Return Qwen-Image's autoencoder in the original names of Wan's, below `prefix`.

    Raises:
        ModelFileError: a tensor is missing or has another shape.
    """
    config = {
        "_class_name": "AutoencoderKLQwenImage",
        "base_dim": header.dims(f"{prefix}encoder.conv1.weight", 5)[0],
        "z_dim": header.dims(f"{prefix}conv2.weight", 5)[0],
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": RESIDUALS,
    }

    def naming(name: str) -> tuple[Piece, ...]:
        layer, _, kind = name.rpartition(".")
        return (Piece(f"{prefix}{original(layer)}.{kind}"),)

    def ignored(name: str) -> bool:
        return name.startswith((f"{prefix}conv1.", f"{prefix}conv2."))  # of the other half

    return Component(str(config["_class_name"]), config, ComponentWeights((header.path,), naming, prefix, ignored))


def original(layer: str) -> str:
    """Return Wan's name of a layer of diffusers' autoencoder."""
    if layer in _ENDS:
        return _ENDS[layer]
    if found := _MIDDLE.fullmatch(layer):
        half, kind, number, rest = found.groups()
        place = 1 if kind == "attentions" else 2 * int(number)
        return f"{half}.middle.{place}.{_RESIDUAL.get(rest, rest)}"
    if found := _DOWN.fullmatch(layer):
        return f"encoder.downsamples.{found[1]}.{_RESIDUAL.get(found[2], found[2])}"
    if found := _UP.fullmatch(layer):
        level, kind, number, rest = found.groups()
        place = int(level) * (RESIDUALS + 2) + (int(number) if kind == "resnets" else RESIDUALS + 1)
        return f"decoder.upsamples.{place}.{_RESIDUAL.get(rest, rest)}"
    return layer
