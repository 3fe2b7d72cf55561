"""Which models are distilled to few steps: their requests have other defaults. One function for each way to tell."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# The word that marks few-step models in names of repositories: stabilityai/sd-turbo, Tongyi-MAI/Z-Image-Turbo.
TURBO = "turbo"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The configurations of a model, and the names of it and of its source."""

    denoiser: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    index: Mapping[str, Any]
    names: tuple[str, ...]


def turbo_unet(facts: ModelFacts) -> bool:
    """SD-Turbo, SDXL-Turbo: the architecture of other UNets, `trailing` timesteps, and the name."""
    trailing = facts.scheduler.get("timestep_spacing") == "trailing"
    epsilon = facts.scheduler.get("prediction_type", "epsilon") == "epsilon"
    return trailing and epsilon and has_turbo_name(facts)


def without_guidance_and_shift(facts: ModelFacts) -> bool:
    """FLUX.1 schnell has no guidance input, and its levels do not depend on the size; those of others do."""
    return not facts.denoiser.get("guidance_embeds", False) and not facts.scheduler.get("use_dynamic_shifting")


def turbo_flow(facts: ModelFacts) -> bool:
    """Z-Image-Turbo: the name, or levels that are shifted by 3; those of Z-Image are shifted by 6."""
    return has_turbo_name(facts) or facts.scheduler.get("shift") == 3


def marked(facts: ModelFacts) -> bool:
    """FLUX.2 klein: `is_distilled` in model_index.json."""
    return bool(facts.index.get("is_distilled"))


def has_turbo_name(facts: ModelFacts) -> bool:
    """Return whether the last part of a name has the word turbo."""
    return any(TURBO in re.split(r"[^a-z0-9]+", name.lower().rsplit("/", 1)[-1]) for name in facts.names)
