"""The transformers of Ovis-Image and LongCat-Image, which resemble FLUX.1's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from diffusers.models.transformers import transformer_longcat_image, transformer_ovis_image

from ..component import Component
from ..denoisers import POSITIONS, ROWS, TEXT, TIMESTEP_1
from ..flux import traceable_rotation
from ..tensor_specs import TensorSpec

if TYPE_CHECKING:
    from types import ModuleType

    import torch

TOKENS = "packed_height_width"


def ovis_image(pipeline: Any, folder: str) -> Component:
    """Ovis-Image: latents packed two by two; all rows of a call share the position ids of image and text."""
    return _transformer(pipeline, folder, transformer_ovis_image)


def longcat_image(pipeline: Any, folder: str) -> Component:
    """LongCat-Image, as Ovis-Image."""
    return _transformer(pipeline, folder, transformer_longcat_image)


def _transformer(pipeline: Any, folder: str, code: ModuleType) -> Component:
    module = getattr(pipeline, folder)
    config = module.config
    return Component(
        folder=folder,
        module=module,
        takes_adapters=True,
        call=_call,
        inputs={
            "hidden_states": TensorSpec((*ROWS, TOKENS, config.in_channels)),
            "encoder_hidden_states": TensorSpec((*TEXT, config.joint_attention_dim)),
            "timestep": TIMESTEP_1,
            "txt_ids": TensorSpec(("sequence_length", 3), POSITIONS, keep_float32=True),
            "img_ids": TensorSpec((TOKENS, 3), POSITIONS, keep_float32=True),
        },
        outputs={"out_hidden_states": TensorSpec((*ROWS, TOKENS, module.out_channels))},
        traced_call=_call_exactly,
        trace_patch=partial(traceable_rotation, code),
    )


def _call(module: Any, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (module(**inputs, return_dict=False)[0],)


def _call_exactly(module: Any, timestep: torch.Tensor, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Embed time without rounding: diffusers first casts it to the latents' type."""
    waves = (module.time_embed if hasattr(module, "time_embed") else module).time_proj
    waves.forward = lambda _: type(waves).forward(waves, 1000 * timestep)
    try:
        return _call(module, timestep=timestep, **inputs)
    finally:
        del waves.forward
