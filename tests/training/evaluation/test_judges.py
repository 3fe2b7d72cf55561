"""The judges of the score, on rendered images whose content is known."""

import numpy as np
import pytest

from tintype.training.evaluation.judges import brightness, find_shape, judge, judge_halves, warmth
from tintype.training.scenes.render import render
from tintype.training.scenes.spec import SHAPES, ColoredShape, SceneSpec, ShapesSpec


def render_shape(color: str, shape: str, background: str, seed: int = 3) -> np.ndarray:
    return np.asarray(render(ShapesSpec(seed, background, (ColoredShape(color, shape),), stacked=False, size=0.4)))


def test_a_red_circle_on_blue_is_recognised() -> None:
    """Colour, shape and background are right, and the overlap is high."""
    verdict = judge(render_shape("red", "circle", "blue"))
    assert (verdict.color, verdict.shape, verdict.background) == ("red", "circle", "blue")
    assert verdict.overlap > 0.95


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("color", "background"), [("white", "gray"), ("brown", "black"), ("orange", "yellow"), ("blue", "cyan")]
)
def test_rendered_shapes_are_recognised(shape: str, color: str, background: str) -> None:
    """All six shapes are recognised, also when the two colours are similar."""
    verdict = judge(render_shape(color, shape, background))
    assert (verdict.color, verdict.shape, verdict.background) == (color, shape, background)


def test_wrong_images_are_rejected() -> None:
    """Swapped colours, another shape, and an empty image are not judged to be a red circle on blue."""
    assert judge(render_shape("blue", "circle", "red")).color != "red"
    assert judge(render_shape("red", "diamond", "blue")).shape == "diamond"
    assert judge(np.full((256, 256, 3), (40, 95, 215), np.uint8)).shape == ""


def test_stripes_are_not_a_shape() -> None:
    """A foreground that fits no outline has no shape."""
    stripes = np.zeros((256, 256), bool)
    stripes[60:200:20, 40:220] = True
    assert find_shape(stripes)[0] == ""


def test_noise_is_not_a_shape() -> None:
    """The noise of an untrained model has no shape."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    assert judge(noise).shape == ""


def test_day_is_brighter_than_night_and_sunset_is_warmer_than_day() -> None:
    """Brightness and warmth order rendered landscapes by their time of day."""
    noon, sunset, night = (
        np.asarray(render(SceneSpec(1, "sea", time, "clear", "sea"))) for time in ("day", "sunset", "night")
    )
    assert brightness(noon) > brightness(sunset) > brightness(night)
    assert warmth(sunset) > warmth(noon)


def test_two_shapes_are_judged_each_in_its_half() -> None:
    """The left verdict is of the left shape, and the right one of the right shape."""
    content = ShapesSpec(
        5, "pink", (ColoredShape("red", "star"), ColoredShape("blue", "circle")), stacked=False, size=0.5
    )
    left, right = judge_halves(np.asarray(render(content)))
    assert (left.color, left.shape, left.background) == ("red", "star", "pink")
    assert (right.color, right.shape, right.background) == ("blue", "circle", "pink")
