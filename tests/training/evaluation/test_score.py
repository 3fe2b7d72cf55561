"""The prompts of the score."""

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch  # the score generates images with torch's noise

from tintype.training.evaluation.score import choose_combinations, choose_pairs, make_prompt  # noqa: E402
from tintype.training.scenes.spec import is_held_out  # noqa: E402


def test_the_score_asks_for_a_hundred_unseen_combinations() -> None:
    """All combinations are held out of training, and no two are equal."""
    asked = choose_combinations()
    assert len(set(asked)) == 100
    assert all(is_held_out(*combination) for combination in asked)
    assert make_prompt(("orange", "star", "blue")) == "an orange star on a blue background"


def test_pairs_consist_of_unseen_combinations() -> None:
    """There are 100 different pairs; both halves are held-out combinations with one background."""
    asked = choose_pairs()
    assert len(set(asked)) == 100
    assert all(is_held_out(*left) and is_held_out(*right) and left[2] == right[2] for left, right in asked)
