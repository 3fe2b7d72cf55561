"""The renderer: a pure function of the seed that never shows a held-out combination."""

import itertools

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


@pytest.mark.parametrize("terrain", TERRAINS)
def test_seeds_of_one_scene_differ(terrain: str) -> None:
    """Three seeds of the same facts differ by at least a tenth of the range of values in a tenth of the image."""
    water = {"beach": "sea", "sea": "sea"}.get(terrain, "none")
    drawn = [np.asarray(render(SceneSpec(seed, terrain, "day", "clear", water))).astype(int) for seed in (11, 12, 13)]
    for first, second in itertools.combinations(drawn, 2):
        assert (np.abs(first - second).max(2) > 25).mean() > 0.1


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_a_larger_image_shows_the_same(seed: int) -> None:
    """An image of twice the side is the same image, with finer edges."""
    small, large = (np.asarray(render(make_spec(seed), side)).astype(float) for side in (256, 512))
    assert large.shape == (512, 512, 3)
    assert np.abs(large.reshape(256, 2, 256, 2, 3).mean((1, 3)) - small).mean() < 2.5


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
