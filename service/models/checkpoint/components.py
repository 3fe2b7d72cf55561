"""The components of a single file: their configurations, and where each parameter is in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..templates.filling import Component
from ..weights.pieces import ComponentWeights
from .component_configs import (
    flux2_config,
    flux_config,
    hf_clip_config,
    open_clip_config,
    open_clip_layers,
    qwen_config,
    sd3_config,
    t5_config,
    vae_config,
)
from .flow_transformers import aura_flow, aura_flow_config, chroma, chroma_config
from .recognition import TIME_ZERO_MARKER, Architecture, Scheme
from .single_stream import UNUSED, lumina2, lumina2_config, z_image, z_image_config
from .text_names import T5_TABLES, open_clip, prefixed
from .transformer_names import bfl_flux, bfl_flux2, sd3
from .unet_config import EDM_MARKERS, unet_config
from .unet_names import ldm_unet, ldm_vae

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..weights.pieces import Naming
    from .header import Header
    from .recognition import Checkpoint, EncoderPlace

UNET_SIZES = {Architecture.SD1: 64, Architecture.SD2: 64, Architecture.SDXL: 128, Architecture.REFINER: 128}
V_SIZE = 96  # of Stable Diffusion 2 models that predict v, in latents
ELSEWHERE = ("vae.", "first_stage_model.", "text_encoders.", "cond_stage_model.", "conditioner.", "model_ema.")
MARKERS = ("v_pred", "ztsnr", "global_step", *EDM_MARKERS)
# Tensors of text encoders that training or other tasks use.
UNUSED_TEXT = ("position_ids", "logit_scale", "attn_mask")
UNUSED_VAE = ("loss.", "model_ema.")
VAE_HALVES = ("vae_encoder", "vae_decoder")


def denoiser(checkpoint: Checkpoint, prediction: str) -> Component:
    """Return the UNet or transformer of a file.

    Raises:
        ModelFileError: a tensor is missing or has an unknown shape.
    """
    header, prefix = checkpoint.header, checkpoint.prefix
    naming: Naming
    match checkpoint.architecture:
        case Architecture.FLUX:
            config = flux_config(header, prefix)
            naming = bfl_flux(config, prefix)
        case Architecture.FLUX2_KLEIN | Architecture.FLUX2:
            config = flux2_config(header, prefix)
            naming = bfl_flux2(config, prefix)
        case Architecture.Z_IMAGE:
            config = z_image_config(header, prefix)
            naming = z_image(config, prefix)
        case Architecture.LUMINA2:
            config = lumina2_config(header, prefix)
            naming = lumina2(config, prefix)
        case Architecture.CHROMA:
            config = chroma_config(header, prefix)
            naming = chroma(config, prefix)
        case Architecture.AURA_FLOW:
            config = aura_flow_config(header, prefix)
            naming = aura_flow(config, prefix)
        case Architecture.SD3:
            config = sd3_config(header, prefix)
            naming = sd3(config, prefix)
        case Architecture.QWEN_IMAGE | Architecture.QWEN_IMAGE_EDIT | Architecture.QWEN_IMAGE_EDIT_PLUS:
            config = qwen_config(header, prefix)
            naming = prefixed(prefix)
        case architecture:
            large = architecture is Architecture.SD2 and prediction != "epsilon"
            size = V_SIZE if large else UNET_SIZES[architecture]
            config = unet_config(header, prefix, sample_size=size, upcast=large)
            naming = ldm_unet(config, prefix)

    def ignored(name: str) -> bool:
        unused = name.startswith(prefix + UNUSED) or _is_marker(name)
        return unused or (not prefix and _is_elsewhere(name))

    return Component(str(config["_class_name"]), config, ComponentWeights((header.path,), naming, prefix, ignored))


def text_encoder(checkpoint: Checkpoint, component: str, class_name: str) -> Component:
    """Return a text encoder that a file contains, as a class of transformers.

    Raises:
        ModelFileError: a tensor is missing or has an unknown shape.
    """
    header, place = checkpoint.header, checkpoint.encoders[component]
    projected = class_name.endswith("WithProjection")
    config, naming, unused = _ENCODERS[place.scheme](header, place, projected)
    drops = tuple(place.prefix + name for name in unused)

    def ignored(name: str) -> bool:
        return name.endswith(UNUSED_TEXT) or name.startswith(drops)

    return Component(class_name, config, ComponentWeights((header.path,), naming, place.prefix, ignored))


def has_projection(checkpoint: Checkpoint, component: str) -> bool:
    """Return whether a file has the projection of one of its text encoders."""
    prefix = checkpoint.encoders[component].prefix
    return any(prefix + name in checkpoint.header for name in ("text_projection", "text_projection.weight"))


def vae(header: Header, prefix: str, values: Mapping[str, Any]) -> Component:
    """Return a VAE; its encoder and its decoder have the configuration and the weights of the whole.

    `values` are the fields of the configuration that the tensors do not show.

    Raises:
        ModelFileError: a tensor is missing or has an unknown shape.
    """
    config = vae_config(header, prefix, values)
    drops = tuple(prefix + name for name in UNUSED_VAE)

    def ignored(name: str) -> bool:
        return name.startswith(drops)

    nested = f"{prefix}decoder.post_quant_conv.weight" in header
    weights = ComponentWeights((header.path,), ldm_vae(config, prefix, nested=nested), prefix, ignored)
    return Component(config["_class_name"], config, weights)


def has_half(header: Header, prefix: str, half: str) -> bool:
    """Return whether a file has the VAE's encoder or decoder below `prefix`."""
    return f"{prefix}{half.removeprefix('vae_')}.conv_in.weight" in header


def _is_marker(name: str) -> bool:
    """Return whether a tensor holds no weights."""
    return name.endswith(TIME_ZERO_MARKER)


def _is_elsewhere(name: str) -> bool:
    """Return whether a tensor of a file without a prefix for its denoiser is part of something else."""
    return name.startswith(ELSEWHERE) or name in MARKERS


_Encoder = tuple[dict[str, Any], "Naming", tuple[str, ...]]


def _transformers(header: Header, place: EncoderPlace, projected: bool) -> _Encoder:  # noqa: FBT001
    activation = "gelu" if "clip_g" in place.prefix else "quick_gelu"
    config = hf_clip_config(header, place.prefix, projected=projected, activation=activation)
    return config, prefixed(place.prefix), () if projected else ("text_projection.",)


def _rootless(header: Header, place: EncoderPlace, projected: bool) -> _Encoder:  # noqa: FBT001
    config = hf_clip_config(header, place.prefix, projected=projected, activation="quick_gelu", root="")
    return config, prefixed(place.prefix, drop="text_model."), ("text_projection.",)


def _open_clip(header: Header, place: EncoderPlace, projected: bool) -> _Encoder:  # noqa: FBT001
    """Stable Diffusion 2 reads the last layer but one, so its configuration has one layer less than OpenCLIP's model.

    Some files lack the unused layer; those lack the projection too.
    """
    stored = open_clip_layers(header, place.prefix)
    unused = not projected and f"{place.prefix}text_projection" in header
    layers = stored - 1 if unused else stored
    config = open_clip_config(header, place.prefix, projected=projected, layers=layers)
    drops = (f"transformer.resblocks.{layers}.", "text_projection") if unused else ()
    return config, open_clip(config, place.prefix), drops


def _t5(header: Header, place: EncoderPlace, _: bool) -> _Encoder:  # noqa: FBT001
    table = next(name for name in T5_TABLES if place.prefix + name in header)
    config = t5_config(header, place.prefix, table)
    return config, prefixed(place.prefix), ()


_ENCODERS: dict[Scheme, Callable[[Header, EncoderPlace, bool], _Encoder]] = {
    Scheme.TRANSFORMERS: _transformers,
    Scheme.ROOTLESS: _rootless,
    Scheme.OPEN_CLIP: _open_clip,
    Scheme.T5: _t5,
}
