"""Widen the finest level of a UNet that is already trained, so that training need not begin again.

Every channel is copied, and the weights that read the copies are split between them (Chen et al., "Net2Net:
accelerating learning via knowledge transfer", 2016). The split is uneven, or the copies would stay equal for ever.
Only normalizations over the finest level and another one together see other groups of channels than before: there
the output changes a little, which a short training mends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .networks import make_unet

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import Tensor

# The share of a weight that the first copy of its input gets: this, more or less.
EVEN, SPREAD = 0.5, 0.2


def widen_unet(narrow: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a UNet of the present widths that does nearly what `narrow` does, whose finest level is half as wide.

    `narrow` must have no `time_embedding_dim`, or the present one: its embedding of timesteps is as wide.
    """
    wide = make_unet()
    before, after = (model.config.block_out_channels for model in (narrow, wide))
    if (2 * before[0], *before[1:]) != tuple(after):
        raise ValueError(f"a UNet of widths {tuple(before)} cannot be widened to {tuple(after)}")
    weights = narrow.state_dict()
    wide.load_state_dict({name: _widen(name, weights[name], own) for name, own in wide.state_dict().items()})
    return wide


def _widen(name: str, weight: Tensor, own: Tensor) -> Tensor:
    """Return a weight in the shape of `own`."""
    if name == "time_embedding.linear_1.weight":
        return _spread_frequencies(weight, own)
    if weight.shape[0] != own.shape[0]:
        weight = _copy_channels(weight, own.shape[0] - weight.shape[0])
    if weight.ndim > 1 and weight.shape[1] != own.shape[1]:
        weight = _split_inputs(weight, own.shape[1] - weight.shape[1])
    return weight


def _copy_channels(weight: Tensor, missing: int) -> Tensor:
    """Copy the last `missing` channels of the first axis: those of the finest level come after all others."""
    return torch.cat([weight[:-missing], weight[-missing:].repeat_interleave(2, 0)])


def _split_inputs(weight: Tensor, missing: int) -> Tensor:
    """Split the weights of the last `missing` inputs, [outputs, inputs, ...], between the copies of each."""
    split = weight[:, -missing:]
    share = EVEN + SPREAD * (2 * torch.rand_like(split) - 1)
    pairs = torch.stack([share * split, (1 - share) * split], 2).flatten(1, 2)
    return torch.cat([weight[:, :-missing], pairs], 1)


def _spread_frequencies(weight: Tensor, own: Tensor) -> Tensor:
    """Read only every other frequency of the sines and cosines of the timestep: they are twice as dense now."""
    spread = torch.zeros_like(own)
    spread[:, ::2] = weight
    return spread
