"""The renderer: a pure function of the seed that never shows a held-out combination."""

import numpy as np
import pytest

from tintype.training.scenes.palette import COLORS
from tintype.training.scenes.render import render
from tintype.training.scenes.spec import (
    SHAPES,
    TERRAINS,
    TIMES,
    SceneSpec,
    ShapesSpec,
    held_out_combinations,
    is_held_out,
    make_spec,
)


@pytest.mark.parametrize("seed", [0, 1, 2, 17, 400])
def test_same_seed_same_bytes(seed: int) -> None:
    """The same seed gives the same spec and the same pixels."""
    assert make_spec(seed) == make_spec(seed)
    assert render(make_spec(seed)).tobytes() == render(make_spec(seed)).tobytes()


def test_images_are_rgb_256() -> None:
    """All images are RGB and 256 by 256, as training expects."""
    assert {(render(make_spec(seed)).mode, render(make_spec(seed)).size) for seed in range(12)} == {("RGB", (256, 256))}


def test_every_terrain_can_be_drawn_at_every_time() -> None:
    """Every combination of terrain, time and weather is drawn, in more than one colour."""
    for terrain in TERRAINS:
        for time in TIMES:
            for weather in ("clear", "rainy", "snowy", "foggy"):
                water = {"beach": "sea", "sea": "sea"}.get(terrain, "none")
                drawn = np.asarray(render(SceneSpec(7, terrain, time, weather, water)))
                assert drawn.std() > 3, (terrain, time, weather)


def test_held_out_combinations_are_never_made() -> None:
    """No seed renders a held-out combination."""
    made = {
        combination
        for seed in range(20_000)
        if isinstance(content := make_spec(seed), ShapesSpec)
        for combination in content.combinations()
    }
    assert not made & set(held_out_combinations())


def test_all_other_combinations_are_made() -> None:
    """Each shape is rendered in each colour, and each colour is a background."""
    made = {
        combination
        for seed in range(20_000)
        if isinstance(content := make_spec(seed), ShapesSpec)
        for combination in content.combinations()
    }
    assert {(color, shape) for color, shape, _ in made} == {(color, shape) for color in COLORS for shape in SHAPES}
    assert {background for _, _, background in made} == set(COLORS)


def test_held_out_combinations_are_stable() -> None:
    """At least the 100 combinations of the score are held out; the hash that chooses them is the same in every run."""
    assert len(held_out_combinations()) >= 100
    assert is_held_out(*held_out_combinations()[0])
    assert held_out_combinations()[:2] == [("black", "circle", "blue"), ("black", "circle", "cyan")]
