"""ChatGLM3, which encodes the prompts of Kolors, as a component."""

from __future__ import annotations

from typing import Any

import torch

from ..component import Component
from ..tensor_specs import TensorSpec, integers, mask
from ..text_encoders import IDS


def chatglm(pipeline: Any, folder: str) -> Component:
    """ChatGLM3 in Kolors: the states before the last layer, and of the last layer that of the last token.

    Padding on the left sees all tokens, and has position 0.
    """
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        body=module.encoder.layers,
        call=_chatglm,
        inputs={
            "input_ids": TensorSpec(IDS, integers(config.padded_vocab_size)),
            "attention_mask": TensorSpec(IDS, lambda random, shape: mask(random, shape)[:, ::-1]),
            "position_ids": TensorSpec(IDS, integers(config.seq_length)),
        },
        outputs={
            "prompt_embeds": TensorSpec((*IDS, config.hidden_size)),
            "pooled_prompt_embeds": TensorSpec(("batch_size", config.hidden_size)),
        },
        traced_call=_traced_chatglm,
    )


def _chatglm(module: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    states = module(**inputs, use_cache=False, output_hidden_states=True).hidden_states
    return states[-2].transpose(0, 1), states[-1][-1]


def _traced_chatglm(
    module: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, position_ids: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Compute masks, which the module changes in place, and positions, of which it has a table."""
    read, places = attention_mask.bool(), torch.arange(input_ids.shape[1])
    seen = (places <= places[:, None]) & read[:, None] | ~read[..., None]
    rotary = module.rotary_pos_emb
    speeds = 1 / (10000 ** (torch.arange(0, rotary.dim, 2, dtype=torch.float32) / rotary.dim))
    angles = position_ids.transpose(0, 1)[..., None].float() * speeds
    rotations = torch.stack([angles.cos(), angles.sin()], -1).to(module.dtype)
    states = module.encoder(
        module.embedding(input_ids),
        ~seen[:, None],
        rotary_pos_emb=rotations,
        use_cache=False,
        output_hidden_states=True,
    )[2]
    return states[-2].transpose(0, 1), states[-1][-1]
