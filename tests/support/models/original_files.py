"""Whole single files of published architectures, as states in their original names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tests.support.models import original_models as models
from tests.support.models.original_names import (
    aura_flow_state,
    chroma_state,
    clip_state,
    flux_state,
    open_clip_state,
    prefixed_state,
    sd3_state,
    unet_state,
    vae_state,
)
from tintype.service.models.checkpoint.header import Header
from tintype.service.models.safetensors import TensorEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    State = Mapping[str, torch.Tensor]

DENOISER = "model.diffusion_model."
POSITIONS = "text_model.embeddings.position_ids"


def sd1_state(unet: Any, vae: Any, clip: Any) -> State:
    """Return the tensors of a Stable Diffusion 1 file."""
    prefix = "cond_stage_model.transformer."
    return {
        **prefixed_state(DENOISER, unet_state(unet)),
        **prefixed_state("first_stage_model.", vae_state(vae)),
        **prefixed_state(prefix, clip_state(clip)),
        prefix + POSITIONS: torch.arange(77)[None],
        "alphas_cumprod": torch.ones(1000),
    }


def sd2_state(unet: Any, vae: Any, clip: Any) -> State:
    """Return the tensors of a Stable Diffusion 2 file, with the layer of OpenCLIP that it does not use."""
    return {
        **prefixed_state(DENOISER, unet_state(unet)),
        **prefixed_state("first_stage_model.", vae_state(vae)),
        **prefixed_state("cond_stage_model.model.", open_clip_state(clip, unused_layer=True)),
    }


def sdxl_state(unet: Any, vae: Any, first: Any, second: Any) -> State:
    """Return the tensors of an SDXL file; without a first text encoder, of a refiner."""
    number, prefix = (0, "") if first is None else (1, "conditioner.embedders.0.transformer.")
    return {
        **prefixed_state(DENOISER, unet_state(unet)),
        **prefixed_state("first_stage_model.", vae_state(vae)),
        **prefixed_state(prefix, clip_state(first) if first else {}),
        **prefixed_state(f"conditioner.embedders.{number}.model.", open_clip_state(second)),
    }


def flux_file_state(transformer: Any, vae: Any = None, clip: Any = None, t5: Any = None, *, prefix: str = "") -> State:
    """Return the tensors of a FLUX.1 file: the transformer alone, or with the other parts as ComfyUI saves them."""
    return {
        **prefixed_state(prefix, flux_state(transformer)),
        **prefixed_state("vae.", vae_state(vae) if vae else {}),
        **prefixed_state("text_encoders.clip_l.transformer.", clip_state(clip) if clip else {}),
        **({"text_encoders.clip_l.logit_scale": torch.ones(())} if clip else {}),
        **prefixed_state("text_encoders.t5xxl.transformer.", t5.state_dict() if t5 else {}),
    }


def chroma_file_state(transformer: Any, vae: Any = None, t5: Any = None) -> State:
    """Return the tensors of a Chroma file: the transformer alone, or with the other parts as ComfyUI saves them."""
    return {
        **prefixed_state(DENOISER if vae else "", chroma_state(transformer)),
        **prefixed_state("vae.", vae_state(vae) if vae else {}),
        **prefixed_state("text_encoders.t5xxl.transformer.", t5.state_dict() if t5 else {}),
    }


def aura_flow_file_state(transformer: Any, vae: Any, umt5: Any) -> State:
    """Return the tensors of an AuraFlow file with all its parts, as published."""
    return {
        **prefixed_state("model.model.", aura_flow_state(transformer)),
        **prefixed_state("vae.", vae_state(vae)),
        **prefixed_state("text_encoders.pile_t5xl.transformer.", umt5.state_dict()),
    }


def sd3_file_state(transformer: Any, vae: Any, clips: tuple[Any, ...] = (), t5: Any = None) -> State:
    """Return the tensors of a Stable Diffusion 3 file; the first CLIP has no projection in it."""
    first, second = clips or (None, None)
    return {
        **prefixed_state(DENOISER, sd3_state(transformer)),
        **prefixed_state("first_stage_model.", vae_state(vae)),
        **prefixed_state("text_encoders.clip_l.transformer.", clip_state(first) if first else {}),
        **prefixed_state("text_encoders.clip_g.transformer.", clip_state(second) if second else {}),
        **prefixed_state("text_encoders.t5xxl.transformer.", t5.state_dict() if t5 else {}),
    }


def full_size_state(name: str) -> State:
    """Return the tensors of a published file at full size, on torch's `meta` device."""
    return models.without_memory(lambda: _state(name))


def _state(name: str) -> State:
    if name.startswith("flux"):
        parts = models.vae("flux"), models.clip("clip_l"), models.t5()
        return flux_file_state(models.transformer(name), *parts, prefix=DENOISER)
    if name.startswith("sd3"):
        clips = (models.clip("clip_l"), models.clip("clip_g", projected=1280))
        return sd3_file_state(models.transformer(name), models.vae("flux"), clips, models.t5())
    unet, vae = models.unet(name), models.vae("sd")
    if name.startswith("sd1"):
        return sd1_state(unet, vae, models.clip("clip_l"))
    if name.startswith("sd2"):
        return sd2_state(unet, vae, models.clip("clip_h"))
    first = None if name == "refiner" else models.clip("clip_l")
    return sdxl_state(unet, vae, first, models.clip("clip_g", projected=1280))


def header_of(state: State, path: Path = Path("models/a.safetensors")) -> Header:
    """Return the header of a file with these tensors."""
    entries = {name: TensorEntry("F32", tuple(tensor.shape), 0, 0) for name, tensor in state.items()}
    return Header(path, entries)
