"""The distance of the seeds of one prompt."""

from typing import Any

import numpy as np
import pytest

from tintype.training.evaluation.diversity import SCENES, measure_distance, measure_diversity, report_diversity


def test_distance_of_images() -> None:
    """Black and white are 1 apart, an image and itself 0, and single pixels hardly count."""
    black, white = np.zeros((256, 256, 3), np.uint8), np.full((256, 256, 3), 255, np.uint8)
    dotted = black.copy()
    dotted[::16, ::16] = 255
    assert measure_distance([black, white]) == pytest.approx(1)
    assert measure_distance([white, white]) == 0
    assert measure_distance([black, dotted]) < 0.02


class OneImage:
    """A model that generates one image for all seeds."""

    def generate(self, prompts: list[str], _seeds: tuple[int, ...]) -> Any:
        return np.zeros((len(prompts), 256, 256, 3), np.uint8)


def test_a_model_of_one_image_has_no_diversity() -> None:
    """Its distance is 0, and the renderer's is not."""
    rows = measure_diversity(OneImage())  # type: ignore[arg-type]
    assert [prompt for prompt, _, _ in rows] == list(SCENES)
    assert all(made == 0 and drawn > 0.03 for _, made, drawn in rows)
    assert report_diversity(rows).startswith("distance of 3 seeds: 0.00 of the renderer's")
