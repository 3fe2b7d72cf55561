"""The house's presets: relative to the model, below a manifest's own, and harmless to distilled models."""

from __future__ import annotations

from typing import Any

import pytest

from tintype.service.models.folder.presets import QUALITIES, STYLES, model_presets
from tintype.service.models.spec import Defaults, Preset

NOTHING = Preset()


def defaults(steps: int = 20, guidance_scale: float = 7.5) -> Defaults:
    return Defaults(
        steps=steps, guidance_scale=guidance_scale, width=512, height=512, sampler="euler", schedule="normal"
    )


@pytest.mark.parametrize(
    ("name", "steps"),
    [("low", 10), ("medium", None), ("standard", None), ("high", 30), ("hd", 30), ("xhigh", 40), ("max", 60)],
)
def test_effort_is_a_factor_of_the_models_own_steps(name: str, steps: int | None) -> None:
    """Every quality that OpenAI knows is there; the usual ones leave the model alone."""
    assert model_presets({}, defaults())["qualities"][name] == Preset(steps=steps)


def test_effort_stays_within_the_contract() -> None:
    """No factor leads out of 1 to 150 steps."""
    assert model_presets({}, defaults(steps=120))["qualities"]["hd"].steps == 150
    assert model_presets({}, defaults(steps=1))["qualities"]["low"].steps == 1


@pytest.mark.parametrize(("steps", "guidance_scale"), [(1, 0.0), (4, 0.0), (8, 1.0)])
def test_effort_leaves_distilled_models_alone(steps: int, guidance_scale: float) -> None:
    """What was trained for a few steps without guidance gets just those, whatever the quality."""
    made = model_presets({}, defaults(steps, guidance_scale))
    assert set(made["qualities"].values()) == {NOTHING}
    assert all(preset.guidance_scale is None for preset in made["styles"].values())


@pytest.mark.parametrize(("steps", "guidance_scale"), [(9, 0.0), (8, 1.5)])
def test_effort_counts_for_all_others(steps: int, guidance_scale: float) -> None:
    """More steps, or guidance, and a model is not one of those."""
    assert model_presets({}, defaults(steps, guidance_scale))["qualities"]["hd"].steps == round(1.5 * steps)


def test_every_style_of_openai_and_agent_ai_is_there() -> None:
    """Each changes something, and those that add words keep the prompt whole, in front."""
    made = model_presets({}, defaults())["styles"]
    assert set(made) == {"vivid", "natural", "photo", "digital art", "illustration", "drawing"}
    for preset in made.values():
        assert preset != NOTHING
        assert preset.template.startswith("{prompt}")
    assert (made["vivid"].guidance_scale, made["natural"].guidance_scale) == (8.8, 6.2)
    assert made["natural"].template == "{prompt}"


def test_guidance_never_falls_to_where_it_ends() -> None:
    """A weakly guided model stays guided with the weaker style."""
    weaker = model_presets({}, defaults(guidance_scale=1.1))["styles"]["natural"].guidance_scale
    assert weaker is not None
    assert weaker > 1


@pytest.mark.parametrize(
    ("own", "names"),
    [
        ({}, set(STYLES)),
        ({"styles": {}}, set(STYLES)),
        ({"styles": None}, set()),
        ({"styles": {"noir": NOTHING}}, {*STYLES, "noir"}),
        ({"styles": {"photo": None}}, set(STYLES) - {"photo"}),
        ({"qualities": None}, set(STYLES)),
    ],
    ids=str,
)
def test_a_manifest_adds_replaces_and_takes_away(own: dict[str, Any], names: set[str]) -> None:
    """Names that it has not heard of stay the house's; null takes one away, or all."""
    assert set(model_presets(own, defaults())["styles"]) == names


def test_a_manifests_own_preset_is_taken_as_it_is() -> None:
    """Nothing of the house's preset of that name is left in it."""
    own = Preset(template="{prompt}, noir")
    made = model_presets({"styles": {"vivid": own}, "qualities": {"hd": NOTHING}}, defaults())
    assert made["styles"]["vivid"] == own
    assert made["qualities"]["hd"] == NOTHING
    assert set(made["qualities"]) == set(QUALITIES)
