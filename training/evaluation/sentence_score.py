"""The score of sentences: of each form, the fraction of images that show what their sentence says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .judges import Verdict, judge, judge_halves, judge_stacked
from .sentences import BESIDE, LANDSCAPE, SHAPE, STACKED, choose_sentences

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..scenes.dataset import ImageArray
    from .scene_judge import Reading
    from .sentences import Sentence

# Seeds of each sentence, and sentences of each form: 21 images of a form.
SEEDS, SENTENCES = 3, 7
# The fraction of a form's images that must be right.
REQUIRED = 0.95
BATCH = 4
# The radius of a shape of middle size, in pixels: a large one has more, a small one less.
MIDDLE_RADIUS = 62.0


class Pipeline(Protocol):
    """Generates images, uint8 [n, 256, 256, 3], as `OnnxPipeline` does."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> ImageArray: ...  # noqa: D102


class LandscapeJudge(Protocol):
    """Reads landscapes, as `SceneJudge` does."""

    @property
    def checked(self) -> Mapping[str, float]: ...  # noqa: D102

    def read(self, images: ImageArray) -> list[Reading]: ...  # noqa: D102


@dataclass(frozen=True)
class JudgedImage:
    """A sentence, its seed, and what its image shows."""

    sentence: Sentence
    seed: int
    reading: Mapping[str, str]

    @property
    def wrong(self) -> list[str]:
        """For each fact that is wrong, for example "time is day, not night"."""
        return [
            f"{name} is {self.reading.get(name) or 'absent'}, not {' or '.join(sorted(right)[:3])}"
            for name, right in self.sentence.wanted.items()
            if self.reading.get(name, "") not in right
        ]


@dataclass
class SentenceScore:
    """All judged images, and what is known about the judge of landscapes: for each fact, how often it is right."""

    images: list[JudgedImage]
    checked: Mapping[str, float] = field(default_factory=dict)

    @property
    def forms(self) -> dict[str, tuple[int, int]]:
        """For each form, how many of its images are right, and how many there are."""
        counts: dict[str, tuple[int, int]] = {}
        for image in self.images:
            right, total = counts.get(image.sentence.form, (0, 0))
            counts[image.sentence.form] = (right + (not image.wrong), total + 1)
        return counts

    @property
    def least(self) -> float:
        """The fraction of the worst form."""
        return min(right / total for right, total in self.forms.values())

    def report(self) -> str:
        """Return the table of all forms, and a list of everything that is wrong."""
        total = np.mean([not image.wrong for image in self.images])
        count = len({image.sentence.text for image in self.images})
        lines = [
            f"unseen sentences right: {total:.3f} of {len(self.images)} images of {count} sentences",
            f"worst form: {self.least:.2f}, required {REQUIRED:.2f}",
            *(f"  {form:<30} {right:>3} of {of:<3} {right / of:.2f}" for form, (right, of) in self.forms.items()),
        ]
        if self.checked:
            rates = ", ".join(f"{name} {rate:.3f}" for name, rate in self.checked.items())
            lines.append(f"the judge of landscapes is right about blurred and noisy rendered images: {rates}")
        wrong = [
            f"  {image.sentence.form}: {image.sentence.text!r}, seed {image.seed}: {'; '.join(image.wrong)}"
            for image in self.images
            if image.wrong
        ]
        return "\n".join([*lines, *(["wrong sentences:", *wrong] if wrong else [])])


def score_sentences(
    pipeline: Pipeline, landscapes: LandscapeJudge, each: int = SENTENCES, seeds: int = SEEDS
) -> SentenceScore:
    """Generate `seeds` images of `each` sentences of every form, and judge them.

    `each=2, seeds=1` is a quick check of 60 images.
    """
    asked = [(sentence, seed) for sentence in choose_sentences(each) for seed in range(seeds)]
    judged: list[JudgedImage] = []
    for low in range(0, len(asked), BATCH):
        rows = asked[low : low + BATCH]
        images = pipeline.generate([sentence.text for sentence, _ in rows], [seed for _, seed in rows])
        readings = read_images([sentence.reader for sentence, _ in rows], images, landscapes)
        judged += [JudgedImage(*row, reading) for row, reading in zip(rows, readings, strict=True)]
    return SentenceScore(judged, landscapes.checked)


def read_images(readers: Sequence[str], images: ImageArray, landscapes: LandscapeJudge) -> list[Reading]:
    """Read images, uint8 [n, 256, 256, 3], each as its reader says."""
    scenes = iter(landscapes.read(images[[reader == LANDSCAPE for reader in readers]]))
    return [
        next(scenes) if reader == LANDSCAPE else _SHAPE_READERS[reader](image)
        for reader, image in zip(readers, images, strict=True)
    ]


def _read_shape(image: ImageArray) -> Reading:
    verdict = judge(image)
    return _name_parts(verdict) | {"size": "large" if verdict.radius > MIDDLE_RADIUS else "small"}


def _name_parts(verdict: Verdict, place: str = "") -> Reading:
    parts = {"color": verdict.color, "shape": verdict.shape, "background": verdict.background}
    return {f"{place} {name}".strip(): value for name, value in parts.items()}


def _name_two(verdicts: tuple[Verdict, Verdict]) -> Reading:
    return _name_parts(verdicts[0], "first") | _name_parts(verdicts[1], "second")


_SHAPE_READERS = {
    SHAPE: _read_shape,
    BESIDE: lambda image: _name_two(judge_halves(image)),
    STACKED: lambda image: _name_two(judge_stacked(image)),
}
