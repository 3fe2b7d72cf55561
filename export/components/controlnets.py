"""ControlNets as components: a denoiser's inputs and a hint in, residuals of its hidden states out; image encoders.

The outputs of a UNet's ControlNet have the names of the UNet's inputs. Those of SD3 and FLUX.1 are numbered by the
ControlNet's own blocks, which may be fewer than the denoiser's.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from diffusers.models.transformers import transformer_flux

from ..errors import ExportRefusal
from .component import Component
from .denoisers import ROWS, sd3, unet, unet_residuals
from .flux import call_flux, flux, traceable_rotation
from .tensor_specs import TensorSpec, descending, integers, positive

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

HINT, SCALE, MODE = "controlnet_cond", "conditioning_scale", "controlnet_mode"
BLOCK, SINGLE = "block.", "single."
WEIGHT = TensorSpec(ROWS, descending(2))


def controlnet(pipeline: Any, folder: str) -> Component:
    """ControlNet of Stable Diffusion and SDXL; its hint is pixels [n, 3, H, W] in 0..1."""
    module = getattr(pipeline, folder)
    config = module.config
    if config.global_pool_conditions or config.controlnet_conditioning_channel_order != "rgb":
        raise ExportRefusal(
            f"{folder}/config.json: global_pool_conditions must be false, and the order of channels rgb"
        )
    outputs = unet_residuals(config)
    hint = TensorSpec((*ROWS, config.conditioning_channels, "sample_height", "sample_width"), positive)
    return Component(
        folder=folder,
        module=module,
        call=_call_unet,
        inputs={**_inputs_of(unet, pipeline, module), HINT: hint, SCALE: WEIGHT},
        outputs=outputs,
        downscale=8,  # of a hint, in pixels of a latent
    )


def sd3_controlnet(pipeline: Any, folder: str) -> Component:
    """ControlNet of Stable Diffusion 3; its hint is latents."""
    module = getattr(pipeline, folder)
    config = module.config
    inputs: dict[str, TensorSpec] = dict(_inputs_of(sd3, pipeline, module))
    channels = config.in_channels + config.extra_conditioning_channels
    inputs[HINT] = TensorSpec((*ROWS, channels, *inputs["hidden_states"].axes[2:]))
    state = TensorSpec((*ROWS, "patches", module.inner_dim))
    return Component(
        folder=folder,
        module=module,
        call=_call_sd3,
        inputs=inputs | {SCALE: WEIGHT},
        outputs={f"{BLOCK}{n}": state for n in range(config.num_layers)},
    )


def flux_controlnet(pipeline: Any, folder: str) -> Component:
    """ControlNet of FLUX.1; its hint is packed latents. A union also takes the number of the kind of control."""
    module = getattr(pipeline, folder)
    config = module.config
    if config.conditioning_embedding_channels is not None:
        raise ExportRefusal(f"{folder}/config.json: conditioning_embedding_channels must be null")
    inputs: dict[str, TensorSpec] = dict(_inputs_of(flux, pipeline, module))
    inputs |= {HINT: inputs["hidden_states"], SCALE: WEIGHT}
    if config.num_mode is not None:
        inputs[MODE] = TensorSpec((*ROWS, 1), integers(config.num_mode))
    state = TensorSpec((*ROWS, "packed_height_width", module.inner_dim))
    names = [f"{BLOCK}{n}" for n in range(config.num_layers)]
    names += [f"{SINGLE}{n}" for n in range(config.num_single_layers)]
    return Component(
        folder=folder,
        module=module,
        call=_call_flux,
        inputs=inputs,
        outputs=dict.fromkeys(names, state),
        traced_call=_call_flux_exactly,
        trace_patch=partial(traceable_rotation, transformer_flux),
    )


def clip_vision(pipeline: Any, folder: str) -> Component:
    """CLIP's encoder of images, for image prompts: the projected embedding of an image."""
    module = getattr(pipeline, folder)
    config = module.config
    side = config.image_size
    return Component(
        folder=folder,
        module=module,
        call=lambda module, pixel_values: (module(pixel_values).image_embeds,),
        inputs={"pixel_values": TensorSpec((*ROWS, config.num_channels, side, side))},
        outputs={"image_embeds": TensorSpec((*ROWS, config.projection_dim))},
    )


def _inputs_of(make: Any, pipeline: Any, module: Any) -> Mapping[str, TensorSpec]:
    """Return the inputs of a ControlNet's denoiser, which has the same fields in its configuration."""
    config = SimpleNamespace(**{"time_cond_proj_dim": None, "out_channels": 1, **module.config})
    denoiser = SimpleNamespace(config=config, inner_dim=1, out_channels=1, attn_processors={})
    second = getattr(pipeline, "text_encoder_2", None)
    inputs: Mapping[str, TensorSpec] = make(
        SimpleNamespace(denoiser=denoiser, text_encoder_2=second), "denoiser"
    ).inputs
    return inputs


def _call_unet(
    module: Any,
    sample: torch.Tensor,
    timestep: torch.Tensor,
    encoder_hidden_states: torch.Tensor,
    controlnet_cond: torch.Tensor,
    conditioning_scale: torch.Tensor,
    **added: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    scale = conditioning_scale[:, None, None, None]
    down, middle = module(
        sample, timestep, encoder_hidden_states, controlnet_cond, scale, added_cond_kwargs=added, return_dict=False
    )
    return (*down, middle)


def _call_sd3(module: Any, conditioning_scale: torch.Tensor, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(module(**inputs, conditioning_scale=conditioning_scale[:, None, None], return_dict=False)[0])


def _call_flux(module: Any, conditioning_scale: torch.Tensor, **inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    scale = conditioning_scale[:, None, None]
    double, single = module(**inputs, conditioning_scale=scale, return_dict=False)
    return (*(double or ()), *(single or ()))


def _call_flux_exactly(module: Any, **inputs: Any) -> tuple[torch.Tensor, ...]:
    """Embed time and guidance without rounding, as for the denoiser."""
    return call_flux(partial(_call_flux, module), module, **inputs)
