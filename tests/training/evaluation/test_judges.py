"""The judges of the score, asked about pictures whose answer is known."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch  # the score draws with the torch networks

from tintype.training.evaluation.judges import brightness, judge, judge_halves, nearest_shape, warmth  # noqa: E402
from tintype.training.evaluation.score import asked_for, pairs_asked_for, prompt_of  # noqa: E402
from tintype.training.scenes.render import render  # noqa: E402
from tintype.training.scenes.spec import SHAPES, Item, SceneSpec, ShapesSpec, held_out  # noqa: E402


def picture(color: str, shape: str, background: str, seed: int = 3) -> np.ndarray:
    return np.asarray(render(ShapesSpec(seed, background, (Item(color, shape),), stacked=False, size=0.4)))


def test_a_red_circle_on_blue_is_called_that() -> None:
    """The plainest picture gets the plainest verdict."""
    verdict = judge(picture("red", "circle", "blue"))
    assert (verdict.color, verdict.shape, verdict.background) == ("red", "circle", "blue")
    assert verdict.overlap > 0.95


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("color", "background"), [("white", "gray"), ("brown", "black"), ("orange", "yellow"), ("blue", "cyan")]
)
def test_rendered_shapes_are_recognised(shape: str, color: str, background: str) -> None:
    """All six shapes, also where the two colours are close."""
    verdict = judge(picture(color, shape, background))
    assert (verdict.color, verdict.shape, verdict.background) == (color, shape, background)


def test_a_wrong_answer_is_called_wrong() -> None:
    """Swapped colours, another shape, an empty picture: none of them passes for a red circle on blue."""
    assert judge(picture("blue", "circle", "red")).color != "red"
    assert judge(picture("red", "diamond", "blue")).shape == "diamond"
    assert judge(np.full((256, 256, 3), (40, 95, 215), np.uint8)).shape == ""


def test_mush_is_no_shape() -> None:
    """A foreground that fits no outline is not given the nearest name."""
    stripes = np.zeros((256, 256), bool)
    stripes[60:200:20, 40:220] = True
    assert nearest_shape(stripes)[0] == ""


def test_noise_is_no_shape() -> None:
    """What an untrained model makes scores nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    assert judge(noise).shape == ""


def test_day_is_brighter_than_night_and_sunset_is_warmer_than_day() -> None:
    """The measures behind the times of day hold for rendered landscapes."""
    noon, sunset, night = (
        np.asarray(render(SceneSpec(1, "sea", time, "clear", "sea"))) for time in ("day", "sunset", "night")
    )
    assert brightness(noon) > brightness(sunset) > brightness(night)
    assert warmth(sunset) > warmth(noon)


def test_the_score_asks_for_a_hundred_unseen_combinations() -> None:
    """Each combination that is asked for was held out of training, and no two are the same."""
    asked = asked_for()
    assert len(set(asked)) == 100
    assert all(held_out(*triple) for triple in asked)
    assert prompt_of(("orange", "star", "blue")) == "an orange star on a blue background"


def test_two_shapes_are_judged_each_in_its_half() -> None:
    """Left is left and right is right, whichever colours and shapes they are."""
    content = ShapesSpec(5, "pink", (Item("red", "star"), Item("blue", "circle")), stacked=False, size=0.5)
    left, right = judge_halves(np.asarray(render(content)))
    assert (left.color, left.shape, left.background) == ("red", "star", "pink")
    assert (right.color, right.shape, right.background) == ("blue", "circle", "pink")


def test_pairs_are_asked_of_unseen_combinations_only() -> None:
    """A hundred different pairs; both halves are combinations that training never showed, on one background."""
    asked = pairs_asked_for()
    assert len(set(asked)) == 100
    assert all(held_out(*left) and held_out(*right) and left[2] == right[2] for left, right in asked)
