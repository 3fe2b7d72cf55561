"""Presets are relative to the model, below those of tintype.json, and do not change distilled models."""

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
def test_qualities_scale_the_models_own_steps(name: str, steps: int | None) -> None:
    """Every quality of OpenAI exists; the usual ones keep the model's steps."""
    assert model_presets({}, defaults())["qualities"][name] == Preset(steps=steps)


def test_steps_stay_within_the_contract() -> None:
    """Every factor gives 1 to 150 steps."""
    assert model_presets({}, defaults(steps=120))["qualities"]["hd"].steps == 150
    assert model_presets({}, defaults(steps=1))["qualities"]["low"].steps == 1


@pytest.mark.parametrize(("steps", "guidance_scale"), [(1, 0.0), (4, 0.0), (8, 1.0)])
def test_qualities_keep_the_steps_of_distilled_models(steps: int, guidance_scale: float) -> None:
    """A model trained for few steps without guidance gets exactly these steps for every quality."""
    made = model_presets({}, defaults(steps, guidance_scale))
    assert set(made["qualities"].values()) == {NOTHING}
    assert all(preset.guidance_scale is None for preset in made["styles"].values())


@pytest.mark.parametrize(("steps", "guidance_scale"), [(9, 0.0), (8, 1.5)])
def test_qualities_scale_the_steps_of_other_models(steps: int, guidance_scale: float) -> None:
    """With more steps, or with guidance, a model is not distilled."""
    assert model_presets({}, defaults(steps, guidance_scale))["qualities"]["hd"].steps == round(1.5 * steps)


def test_all_styles_of_openai_and_agent_ai_exist() -> None:
    """Each style changes something; those that add words begin with the whole prompt."""
    made = model_presets({}, defaults())["styles"]
    assert set(made) == {"vivid", "natural", "photo", "digital art", "illustration", "drawing"}
    for preset in made.values():
        assert preset != NOTHING
        assert preset.template.startswith("{prompt}")
    assert (made["vivid"].guidance_scale, made["natural"].guidance_scale) == (8.8, 6.2)
    assert made["natural"].template == "{prompt}"


def test_weaker_styles_keep_guidance() -> None:
    """A weakly guided model is still guided with the weaker style."""
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
def test_tintype_json_adds_replaces_and_removes_presets(own: dict[str, Any], names: set[str]) -> None:
    """Other presets stay; null removes one preset, or all."""
    assert set(model_presets(own, defaults())["styles"]) == names


def test_presets_of_tintype_json_are_used_unchanged() -> None:
    """No value of the general preset of that name is left."""
    own = Preset(template="{prompt}, noir")
    made = model_presets({"styles": {"vivid": own}, "qualities": {"hd": NOTHING}}, defaults())
    assert made["styles"]["vivid"] == own
    assert made["qualities"]["hd"] == NOTHING
    assert set(made["qualities"]) == set(QUALITIES)
