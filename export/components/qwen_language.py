"""The language model of Qwen2.5-VL as a component: ids and embeddings of images to the states of the last layer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tintype.service.models.text.vision import token_places

from .component import Component
from .language_models import IDS, layer_numbers, position_axes, read
from .qwen_vision import vision
from .tensor_specs import TensorSpec, mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .tensor_specs import ExampleSize

GRID = (2, 3)  # of the image in examples, in tokens


def language(pipeline: Any, folder: str) -> Component:
    """Return the language model, for prompts with and without images.

    Tokens with the id of images read the embeddings `image_embeds` in their order. Places have three axes: frame, row
    and column.
    """
    module = getattr(pipeline, folder)
    model, config, token = module.model.language_model, module.config.text_config, module.config.image_token_id
    return Component(
        folder=folder,
        module=model,
        call=lambda model, **inputs: _call(model, token, **inputs),
        traced_call=partial(_traced_call, token=token, axes=position_axes(model)),
        inputs={
            "input_ids": TensorSpec(IDS),
            "attention_mask": TensorSpec(IDS, mask),
            "position_ids": TensorSpec(("batch_size", 3, "sequence_length")),
            "image_embeds": TensorSpec(("image_tokens", config.hidden_size)),
        },
        outputs={"prompt_embeds": TensorSpec((*IDS, config.hidden_size))},
        given=lambda size: _example(size, config, token),
    )


def language_and_vision(pipeline: Any, folder: str) -> tuple[Component, Component]:
    """Return the language model and the vision tower."""
    return language(pipeline, folder), vision(getattr(pipeline, folder).model.visual)


def _example(size: ExampleSize, config: Any, token: int) -> Mapping[str, Any]:
    """Return random prompts; that of the first row begins with an image."""
    ids = np.random.default_rng(size.rows).integers(0, config.vocab_size, (size.rows, size.tokens))
    ids[ids == token] = 0
    tokens = min(GRID[0] * GRID[1], size.tokens - 1)
    ids[0, 1 : 1 + tokens] = token
    grids = [[GRID], *[[]] * (size.rows - 1)]
    places = np.stack([token_places(row, token, own)[:, : size.tokens] for row, own in zip(ids, grids, strict=True)])
    embeds = np.random.default_rng(1).standard_normal((tokens, config.hidden_size), np.float32)
    return {"input_ids": ids, "position_ids": places, "image_embeds": embeds}


def _call(
    model: Any,
    token: int,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    position_ids: torch.Tensor,
    image_embeds: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    embeds = model.embed_tokens(input_ids)
    embeds = embeds.masked_scatter((input_ids == token)[..., None], image_embeds)
    states = model(
        inputs_embeds=embeds, attention_mask=attention_mask, position_ids=position_ids.transpose(0, 1), use_cache=False
    )
    return (states.last_hidden_state,)


def _traced_call(
    model: Any,
    *,
    token: int,
    axes: Sequence[int],
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    position_ids: torch.Tensor,
    image_embeds: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    is_image = input_ids == token
    number = (is_image.flatten().long().cumsum(0) - 1).clamp(min=0).reshape(input_ids.shape)
    embeds = torch.where(is_image[..., None], image_embeds[number], model.embed_tokens(input_ids))
    return (read(model, embeds, attention_mask, layer_numbers(model, (-1,)), position_ids, axes),)
