"""Which models are distilled to few steps: their requests have other defaults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..family import Family

# The word that marks one-step UNets in names of repositories: stabilityai/sd-turbo, stabilityai/sdxl-turbo.
TURBO = "turbo"


def is_distilled(
    family: Family, denoiser: Mapping[str, Any], scheduler: Mapping[str, Any], names: Iterable[str]
) -> bool:
    """Return whether a model is distilled to few steps.

    `denoiser` and `scheduler` are their configurations, `names` those of the model and of its source.
    FLUX.1 schnell has no guidance input, and its noise levels do not depend on the size; those of a de-distilled model
    do. A distilled UNet (SD-Turbo, SDXL-Turbo) has the architecture and settings of an ordinary one. It is recognised
    by its name, if it also predicts epsilon from `trailing` timesteps.
    """
    if family.distilled is None:
        return False
    if family.denoiser.packed:
        return not denoiser.get("guidance_embeds", False) and not scheduler.get("use_dynamic_shifting")
    trailing = scheduler.get("timestep_spacing") == "trailing"
    epsilon = scheduler.get("prediction_type", "epsilon") == "epsilon"
    return trailing and epsilon and any(is_turbo(name) for name in names)


def is_turbo(name: str) -> bool:
    """Return whether the last part of a name has the word turbo."""
    return TURBO in re.split(r"[^a-z0-9]+", name.lower().rsplit("/", 1)[-1])
