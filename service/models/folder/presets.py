"""What `quality` and `style` do with a model whose manifest says nothing of them: the house's presets, in two tables.

- They are relative to the model: effort is a factor of its own steps, the look a factor of its own guidance above 1,
  where guidance begins. What a preset leaves alone stays the model's own.
- A distilled model (few steps, no guidance) was trained for exactly those steps: more of them do not make it better,
  and effort changes nothing there.
- In a manifest, `qualities` and `styles` add presets to these, or replace those of the same name; a name that is null
  is taken away, and null instead of all means that the model has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..spec import Preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..spec import Defaults

MOST_STEPS = 150  # the contract's limit
FEW_STEPS, NO_GUIDANCE = 8, 1.0  # at most so much of both: a distilled model (Turbo, Lightning, schnell)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A preset before its model is known: `steps` and `guidance` are factors."""

    steps: float = 1.0
    guidance: float = 1.0
    template: str = "{prompt}"
    negative_prompt: str = ""

    def of(self, defaults: Defaults) -> Preset:
        """Return the preset for a model with these defaults."""
        few, unguided = defaults.steps <= FEW_STEPS, defaults.guidance_scale <= NO_GUIDANCE
        steps = min(MOST_STEPS, max(1, round(self.steps * defaults.steps)))
        guidance = 1 + self.guidance * (defaults.guidance_scale - 1)
        return Preset(
            steps=None if self.steps == 1 or (few and unguided) else steps,
            guidance_scale=None if self.guidance == 1 or unguided else round(guidance, 2),
            template=self.template,
            negative_prompt=self.negative_prompt,
        )


# OpenAI's words for effort: `standard` and `hd` belong to dall-e, the others to gpt-image.
QUALITIES = {
    "low": Relative(steps=0.5),
    "medium": Relative(),
    "standard": Relative(),
    "high": Relative(steps=1.5),
    "hd": Relative(steps=1.5),
    "xhigh": Relative(steps=2.0),
    "max": Relative(steps=3.0),
}
# OpenAI's two styles, then agent.ai's.
STYLES = {
    "vivid": Relative(
        guidance=1.2, template="{prompt}, vivid colors, dramatic lighting", negative_prompt="dull, washed out"
    ),
    "natural": Relative(guidance=0.8, negative_prompt="oversaturated, exaggerated colors"),
    "photo": Relative(
        template="{prompt}, photograph, natural light, sharp focus",
        negative_prompt="illustration, painting, drawing, cartoon, 3d render",
    ),
    "digital art": Relative(template="{prompt}, digital art, highly detailed", negative_prompt="photograph"),
    "illustration": Relative(
        template="{prompt}, illustration, clean lines, flat colors", negative_prompt="photograph, 3d render"
    ),
    "drawing": Relative(
        template="{prompt}, pencil drawing, hand-drawn lines, paper", negative_prompt="photograph, 3d render"
    ),
}


def presets(own: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """Return `qualities` and `styles` of a model; `own` is what its manifest says of them."""
    return {
        "qualities": _all(QUALITIES, own.get("qualities", {}), defaults),
        "styles": _all(STYLES, own.get("styles", {}), defaults),
    }


def _all(
    house: Mapping[str, Relative], own: Mapping[str, Preset | None] | None, defaults: Defaults
) -> dict[str, Preset]:
    if own is None:
        return {}
    usual = {name: relative.of(defaults) for name, relative in house.items()}
    return {name: preset for name, preset in {**usual, **own}.items() if preset}
