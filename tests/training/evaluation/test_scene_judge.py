"""The judge of landscapes: what it learns from a few rendered images, and how its errors are counted."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from tintype.training.evaluation.scene_features import measure_features, reduce_images  # noqa: E402
from tintype.training.evaluation.scene_judge import (  # noqa: E402
    ABSENT,
    SceneJudge,
    describe,
    measure_agreement,
)
from tintype.training.scenes.render import render  # noqa: E402
from tintype.training.scenes.spec import SceneSpec, make_spec  # noqa: E402


def test_a_judge_learns_from_rendered_images(tmp_path: Path) -> None:
    """After 180 images it tells times and terrains of others, also blurred and noisy ones, and is kept in a file."""
    specs = [spec for seed in range(400) if isinstance(spec := make_spec(seed), SceneSpec)][:220]
    images = np.stack([np.asarray(render(spec)) for spec in specs])
    readings = [describe(spec) for spec in specs]
    judge = SceneJudge.fit(reduce_images(images[:180]), readings[:180], epochs=12)
    read = judge.read(images[180:])
    rates = measure_agreement(readings[180:], read)
    assert rates["time"] > 0.85
    assert rates["terrain"] > 0.5
    assert judge.check(reduce_images(images[180:]), readings[180:])["time"] > 0.8
    judge.save(tmp_path / "judge.pt")
    assert SceneJudge.load(tmp_path / "judge.pt").read(images[180:]) == read


def test_features_find_a_colour_in_the_light_of_the_night() -> None:
    """A red balloon at night, which is dark red, fills a window that no red is in otherwise."""

    def features(**objects: str) -> np.ndarray:
        image = np.asarray(render(SceneSpec(1, "sea", "night", "clear", "sea", objects)))
        return measure_features(reduce_images(image[None]))[0]

    assert (features(balloon="red") - features()).max() > 0.5


def test_the_reading_of_a_spec() -> None:
    """A coloured object has its colour, another is present, a missing one absent; a white sail is a colour, too."""
    reading = describe(SceneSpec(0, "sea", "night", "clear", "sea", {"sailboat": "white", "moon": "full"}))
    assert (reading["terrain"], reading["time"], reading["water"]) == ("sea", "night", "sea")
    assert (reading["sailboat"], reading["moon"], reading["car"]) == ("white", "present", ABSENT)


def test_missing_and_invented_objects_count_alike() -> None:
    """A judge that never sees a rare object is right about half of it; one that swaps the time is wrong."""
    with_moon = describe(SceneSpec(0, "sea", "night", "clear", "sea", {"moon": "full"}))
    without = describe(SceneSpec(0, "sea", "night", "clear", "sea"))
    rates = measure_agreement([with_moon, *[without] * 9], [without] * 10)
    assert rates["moon"] == 0.5
    assert rates["time"] == 1.0
    assert measure_agreement([without], [without | {"time": "day"}])["time"] == 0.0
