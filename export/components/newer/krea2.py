"""The transformer of Krea 2 as a component; it reads the states of several layers of its text encoder."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers.models.transformers import transformer_krea2

from ..component import Component
from ..denoisers import POSITIONS, ROWS, TEXT, TIMESTEP_1
from ..flux import traceable_rotation
from ..tensor_specs import TensorSpec, mask

TOKENS = "packed_height_width"
# Of Qwen3-VL-4B; Krea2Pipeline takes them if its configuration names no others.
LAYERS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)


def transformer(pipeline: Any, folder: str) -> Component:
    """Return the transformer: latents packed two by two, and the states of all layers side by side."""
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((*ROWS, TOKENS, config.in_channels)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.num_text_layers * config.text_hidden_dim)),
            "encoder_attention_mask": TensorSpec(TEXT, mask),
            "timestep": TIMESTEP_1,
            "txt_ids": TensorSpec(("sequence_length", 3), POSITIONS, keep_float32=True),
            "img_ids": TensorSpec((TOKENS, 3), POSITIONS, keep_float32=True),
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, TOKENS, config.in_channels))},
        traced_call=_traced_call,
        trace_patch=partial(traceable_rotation, transformer_krea2),
    )


def _call(
    module: Any,
    encoder_hidden_states: torch.Tensor,
    encoder_attention_mask: torch.Tensor,
    txt_ids: torch.Tensor,
    img_ids: torch.Tensor,
    **inputs: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    config, rows = module.config, encoder_hidden_states.shape[0]
    layers = encoder_hidden_states.reshape(rows, -1, config.num_text_layers, config.text_hidden_dim)
    places, seen = torch.cat([txt_ids, img_ids]), encoder_attention_mask > 0
    output = module(
        **inputs,
        encoder_hidden_states=layers,
        encoder_attention_mask=seen,
        position_ids=places,
        return_dict=False,
    )
    return (output[0],)


def _traced_call(module: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Fuse the layers of the text without fixed numbers of rows and tokens."""
    fusion = module.text_fusion
    fusion.forward = lambda states, attention_mask: _fuse(fusion, states, attention_mask)
    try:
        return _call(module, **inputs)
    finally:
        del fusion.forward


def _fuse(fusion: Any, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return one state for each token of states [n, tokens, layers, dim]."""
    x = states.flatten(0, 1)
    for block in fusion.layerwise_blocks:
        x = block(x)
    (weights,) = fusion.projector.weight
    x = (x * weights[:, None]).sum(1)
    x = x.reshape(states.shape[0], -1, int(x.shape[-1]))
    for block in fusion.refiner_blocks:
        x = block(x, attention_mask=mask)
    return x
