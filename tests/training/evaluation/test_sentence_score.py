"""The score of sentences, on rendered images in place of generated ones."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tintype.training.evaluation.sentence_score import REQUIRED, SentenceScore, read_images, score_sentences
from tintype.training.evaluation.sentences import BESIDE, LANDSCAPE, SHAPE, STACKED, Sentence, choose_sentences
from tintype.training.scenes.render import render
from tintype.training.scenes.spec import ColoredShape, ShapesSpec

SENTENCES = {sentence.text: sentence for sentence in choose_sentences(1)}


def draw(sentence: Sentence, *, swapped: bool = False) -> np.ndarray:
    """Render what a sentence about shapes says, or with its colours and places the wrong way round."""
    said = {name: next(iter(values)) for name, values in sentence.wanted.items()}
    first = "" if sentence.reader == SHAPE else "first "
    ground = said.get(f"{first}background", "brown" if said.get("color") == "white" else "white")
    places = [""] if sentence.reader == SHAPE else ["first ", "second "]
    items = [ColoredShape(said[f"{place}color"], said[f"{place}shape"]) for place in places]
    if swapped and len(items) == 1:
        items, ground = [ColoredShape(ground, items[0].shape)], items[0].color
    size = {"small": 0.1, "large": 0.9}.get(said.get("size", ""), 0.5)
    stacked = sentence.reader == STACKED
    spec = ShapesSpec(3, ground, tuple(items[::-1] if swapped else items), stacked=stacked, size=size)
    return np.asarray(render(spec))


class FakeJudge:
    """Reads from every landscape what the one form "time of day" wants at night."""

    checked: Mapping[str, float] = {"terrain": 0.99}

    def read(self, images: np.ndarray) -> list[dict[str, str]]:
        return [{"terrain": "city", "time": "night"}] * len(images)


class FakePipeline:
    """Draws the shapes of each sentence in place of the model."""

    def __init__(self, *, swapped: bool) -> None:
        self.swapped = swapped

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        assert len(prompts) == len(seeds)
        asked = [SENTENCES[prompt] for prompt in prompts]
        empty = np.zeros((256, 256, 3), np.uint8)
        return np.stack([empty if s.reader == LANDSCAPE else draw(s, swapped=self.swapped) for s in asked])


@pytest.fixture(scope="module")
def scores() -> dict[bool, SentenceScore]:
    """Return the scores of a pipeline that draws what it is asked, and of one that swaps colours and places."""
    return {
        swapped: score_sentences(FakePipeline(swapped=swapped), FakeJudge(), each=1, seeds=1)
        for swapped in (False, True)
    }


def test_right_images_of_shapes_are_right_and_swapped_ones_are_wrong(scores: dict[bool, SentenceScore]) -> None:
    """Every sentence about shapes is right for its own image, and wrong with its colours or places swapped."""
    for swapped, score in scores.items():
        shapes = [image for image in score.images if image.sentence.reader != LANDSCAPE]
        assert len(shapes) == 19
        assert [image for image in shapes if bool(image.wrong) != swapped] == []


def test_the_report_lists_forms_and_what_is_wrong(scores: dict[bool, SentenceScore]) -> None:
    """The report has a line for each form, the worst form, the judge's own rates, and names each wrong fact."""
    lines = scores[False].report().splitlines()
    assert lines[0].endswith("of 30 images of 30 sentences")
    assert lines[1] == f"worst form: {scores[False].least:.2f}, required {REQUIRED:.2f}"
    assert "  upper case                       1 of 1   1.00" in lines
    assert "the judge of landscapes is right about blurred and noisy rendered images: terrain 0.990" in lines
    assert any("time is night, not" in line for line in lines)


@pytest.mark.parametrize("reader", [SHAPE, BESIDE, STACKED])
def test_an_empty_image_shows_nothing(reader: str) -> None:
    """A plain image and noise have no shape, so no sentence is right for them."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    for reading in read_images([reader] * 2, np.stack([np.full_like(noise, 90), noise]), FakeJudge()):
        assert {value for name, value in reading.items() if name.endswith("shape")} == {""}
