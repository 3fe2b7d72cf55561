"""The presets for `quality` and `style` of models whose tintype.json does not define them.

- Presets are relative to the model: effort is a factor of its own steps, and a look is a factor of its own guidance
  above 1, where guidance begins. A field that a preset does not set stays the model's own.
- A distilled model (few steps, no guidance) was trained for exactly its number of steps; more steps do not improve its
  images. So effort does not change its steps.
- `qualities` and `styles` in tintype.json add presets to these, or replace those of the same name. A preset that is
  null is removed; null in place of all presets means that the model has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..spec import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..spec import Defaults

MAX_STEPS = 150  # the contract's limit
FEW_STEPS, NO_GUIDANCE = 8, 1.0  # limits of both for a distilled model (Turbo, Lightning, schnell)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativePreset:
    """A preset relative to a model: `steps` and `guidance` are factors."""

    steps: float = 1.0
    guidance: float = 1.0
    template: str = "{prompt}"
    negative_prompt: str = ""

    def for_defaults(self, defaults: Defaults) -> Preset:
        """Return the preset of a model with these defaults."""
        few, unguided = defaults.steps <= FEW_STEPS, defaults.guidance_scale <= NO_GUIDANCE
        steps = min(MAX_STEPS, max(1, round(self.steps * defaults.steps)))
        guidance = 1 + self.guidance * (defaults.guidance_scale - 1)
        return Preset(
            steps=None if self.steps == 1 or (few and unguided) else steps,
            guidance_scale=None if self.guidance == 1 or unguided else round(guidance, 2),
            template=self.template,
            negative_prompt=self.negative_prompt,
        )


# OpenAI's names of qualities: `standard` and `hd` for dall-e, the others for gpt-image.
QUALITIES = {
    "low": RelativePreset(steps=0.5),
    "medium": RelativePreset(),
    "standard": RelativePreset(),
    "high": RelativePreset(steps=1.5),
    "hd": RelativePreset(steps=1.5),
    "xhigh": RelativePreset(steps=2.0),
    "max": RelativePreset(steps=3.0),
}
# OpenAI's two styles, then those of agent.ai.
STYLES = {
    "vivid": RelativePreset(
        guidance=1.2, template="{prompt}, vivid colors, dramatic lighting", negative_prompt="dull, washed out"
    ),
    "natural": RelativePreset(guidance=0.8, negative_prompt="oversaturated, exaggerated colors"),
    "photo": RelativePreset(
        template="{prompt}, photograph, natural light, sharp focus",
        negative_prompt="illustration, painting, drawing, cartoon, 3d render",
    ),
    "digital art": RelativePreset(template="{prompt}, digital art, highly detailed", negative_prompt="photograph"),
    "illustration": RelativePreset(
        template="{prompt}, illustration, clean lines, flat colors", negative_prompt="photograph, 3d render"
    ),
    "drawing": RelativePreset(
        template="{prompt}, pencil drawing, hand-drawn lines, paper", negative_prompt="photograph, 3d render"
    ),
}


def model_presets(own: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """Return `qualities` and `styles` of a model, given the fields of its tintype.json."""
    return {
        "qualities": _merge(QUALITIES, own.get("qualities", {}), defaults),
        "styles": _merge(STYLES, own.get("styles", {}), defaults),
    }


def _merge(
    general: Mapping[str, RelativePreset], own: Mapping[str, Preset | None] | None, defaults: Defaults
) -> dict[str, Preset]:
    if own is None:
        return {}
    merged = {**{name: preset.for_defaults(defaults) for name, preset in general.items()}, **own}
    return {name: preset for name, preset in merged.items() if preset}
