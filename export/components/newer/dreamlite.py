"""The UNet of DreamLite as a component, for images from text.

Behind the columns of the image it reads those of an image to edit, which are zeros here.
"""

from __future__ import annotations

from typing import Any

import torch

from ..component import Component
from ..denoisers import LATENTS, PIXELS, ROWS, TEXT, TIMESTEP_1000
from ..tensor_specs import TensorSpec, mask


def unet(pipeline: Any, folder: str) -> Component:
    """Return the UNet; `resolution` is height and width of the image in pixels."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "sample": TensorSpec((*ROWS, config.in_channels, *LATENTS)),
            "timestep": TIMESTEP_1000,
            "encoder_hidden_states": TensorSpec((*TEXT, config.encoder_hid_dim or config.cross_attention_dim)),
            "encoder_attention_mask": TensorSpec(TEXT, mask),
            "resolution": TensorSpec((*ROWS, 2), PIXELS, keep_float32=True),
        },
        outputs={"out_sample": TensorSpec((*ROWS, config.out_channels, *LATENTS))},
    )


def _call(
    module: Any, sample: torch.Tensor, timestep: torch.Tensor, resolution: torch.Tensor, **inputs: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    both = torch.cat([sample, torch.zeros_like(sample)], dim=3)
    sizes = {"time_ids": resolution.flip(1)}
    output = module(both, timestep, **inputs, added_cond_kwargs=sizes, return_dict=False)
    return (output[0][..., : sample.shape[3]],)
