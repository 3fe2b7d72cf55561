"""The source as torch modules: read with float32 weights, judged, and rounded where half of the bits must do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import diffusers
import torch

from .errors import Refused
from .quiet import quiet

if TYPE_CHECKING:
    from .source import Source


def load(source: Source) -> Any:
    """Read the pipeline, float32, on the CPU, without the safety checker, which is no part of drawing.

    Raises Refused where weights are missing or damaged, or a component is of a kind that can't be exported.
    """
    diffusers.utils.logging.disable_progress_bar()
    with quiet():
        try:
            pipeline = getattr(diffusers, source.pipeline).from_pretrained(
                source.location, torch_dtype=torch.float32, safety_checker=None, requires_safety_checker=False
            )
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise Refused(f"{source.location} can't be read by diffusers: {reason}") from None
    _check(pipeline)
    return pipeline


def _check(pipeline: Any) -> None:
    """Refuse what has the name of a family but not its shape."""
    unet, vae = pipeline.unet.config, pipeline.vae.config
    if unet.in_channels != vae.latent_channels:
        raise Refused(
            f"unet takes {unet.in_channels} channels where the vae makes {vae.latent_channels}: "
            "inpainting and other models with extra inputs can't be exported yet"
        )
    if unet.time_cond_proj_dim is not None:
        raise Refused("unet takes a guidance embedding (time_cond_proj_dim): LCM models can't be exported yet")


def parameters(pipeline: Any, parts: tuple[str, ...]) -> dict[str, int]:
    """Count the weights of each part."""
    return {part: sum(p.numel() for p in getattr(pipeline, part).parameters()) for part in parts}


def round_to_half(pipeline: Any, parts: tuple[str, ...]) -> float:
    """Round the weights, in place, to what float16 holds; those beyond its range stay. Return the largest change."""
    largest = 0.0
    with torch.no_grad():
        for weight in (p for part in parts for p in getattr(pipeline, part).parameters()):
            rounded = weight.half().float()
            if torch.isfinite(rounded).all():
                largest = max(largest, float((rounded - weight).abs().max()))
                weight.copy_(rounded)
    return largest
