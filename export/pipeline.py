"""The source as torch modules: read with float32 weights, and rounded where half of the bits must do."""

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

    Raises Refused where weights are missing or damaged.
    """
    diffusers.utils.logging.disable_progress_bar()
    with quiet():
        try:
            return getattr(diffusers, source.pipeline).from_pretrained(
                source.location,
                torch_dtype=torch.float32,
                safety_checker=None,
                requires_safety_checker=False,
                **dict.fromkeys(source.absent),
            )
        except (OSError, ValueError, RuntimeError, TypeError, AttributeError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise Refused(f"{source.location} can't be read by diffusers: {reason}") from None


def parameters(pipeline: Any, parts: tuple[str, ...]) -> dict[str, int]:
    """Count the weights of each part that is there."""
    return {part: sum(p.numel() for p in module.parameters()) for part, module in _modules(pipeline, parts).items()}


def round_to_half(pipeline: Any, parts: tuple[str, ...]) -> float:
    """Round the weights, in place, to what float16 holds; those beyond its range stay. Return the largest change."""
    largest = 0.0
    with torch.no_grad():
        for weight in (p for module in _modules(pipeline, parts).values() for p in module.parameters()):
            rounded = weight.half().float()
            if torch.isfinite(rounded).all():
                largest = max(largest, float((rounded - weight).abs().max()))
                weight.copy_(rounded)
    return largest


def _modules(pipeline: Any, parts: tuple[str, ...]) -> dict[str, Any]:
    return {part: getattr(pipeline, part) for part in parts if getattr(pipeline, part, None) is not None}
