"""The score of a model: the fraction of prompts that it follows.

- 100 combinations of shape colour, shape and background that training never showed. All three must be right.
- 100 pairs of such shapes side by side. All five parts must be right and in their places.
- 30 comparisons of one place at two times of day with the same seed: which image is brighter, or has the warmer sky.
"""

# ruff: noqa: S311 - these random numbers choose prompts; they keep nothing secret

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..scenes.spec import Combination, held_out_combinations
from ..scenes.wording import with_article
from .contact_sheets import tile
from .judges import Verdict, brightness, judge, judge_halves, warmth
from .pipeline import OnnxPipeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..scenes.dataset import ImageArray

COMBINATIONS = 100
PAIRS = 100
# The fraction of combinations that must be right.
REQUIRED = 0.90
BATCH = 4
PLACES = (
    "a mountain lake", "a mountain range", "rolling hills", "a desert", "a sandy beach",
    "the ocean", "a pine forest", "a flower meadow", "a city skyline", "a lake between hills",
)  # fmt: skip
# (measure, time at which it must be greater, time at which it must be less)
COMPARISONS: tuple[tuple[Callable[[ImageArray], float], str, str], ...] = (
    (brightness, "at noon", "at night"),
    (warmth, "at sunset", "at noon"),
    (brightness, "at sunset", "at night"),
)


@dataclass
class Score:
    """Verdicts on combinations, and whether each pair of shapes and each comparison is right."""

    verdicts: list[tuple[Combination, Verdict]] = field(default_factory=list)
    pairs: list[tuple[str, bool]] = field(default_factory=list)
    comparisons: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def combinations(self) -> float:
        """The fraction of combinations that are right."""
        return float(np.mean([_is_right(*row) for row in self.verdicts]))

    @property
    def times(self) -> float:
        """The fraction of comparisons that are right."""
        return float(np.mean([right for _, right in self.comparisons]))

    def report(self) -> str:
        """Return the score as text, with a list of everything that is wrong."""
        count = len(self.verdicts)
        color, shape, ground = (np.mean([part[k] for part in map(_match_parts, self.verdicts)]) for k in range(3))
        overlap = np.mean([verdict.overlap for _, verdict in self.verdicts])
        wrong = [f"  {' '.join(asked)}: {verdict}" for asked, verdict in self.verdicts if not _is_right(asked, verdict)]
        wrong += [f"  {name}" for name, right in self.pairs + self.comparisons if not right]
        pairs = np.mean([right for _, right in self.pairs])
        parts = f"shape colour {color:.2f}, shape {shape:.2f}, background {ground:.2f}; mean overlap {overlap:.3f}"
        lines = [
            f"unseen combinations right: {self.combinations:.2f} of {count}  ({parts})",
            f"unseen pairs of shapes right: {pairs:.2f} of {len(self.pairs)}",
            f"times of day right: {self.times:.2f} of {len(self.comparisons)} comparisons",
        ]
        return "\n".join([*lines, *(["wrong:", *wrong] if wrong else [])])


def _match_parts(row: tuple[Combination, Verdict]) -> tuple[bool, bool, bool]:
    (color, shape, ground), verdict = row
    return color == verdict.color, shape == verdict.shape, ground == verdict.background


def _is_right(asked: Combination, verdict: Verdict) -> bool:
    return all(_match_parts((asked, verdict)))


def choose_combinations(count: int = COMBINATIONS) -> list[Combination]:
    """Return the held-out combinations of the score, which are always the same."""
    return random.Random("score").sample(held_out_combinations(), count)


def choose_pairs(count: int = PAIRS) -> list[tuple[Combination, Combination]]:
    """Return the pairs (left, right) of the score: held-out combinations with one background and two shape colours."""
    candidates = [
        (left, right)
        for left, right in itertools.permutations(held_out_combinations(), 2)
        if left[2] == right[2] and left[0] != right[0]
    ]
    return random.Random("pairs").sample(candidates, count)


def make_prompt(asked: Combination) -> str:
    """Return the prompt for one combination."""
    color, shape, ground = asked
    return f"{with_article(color)} {shape} on {with_article(ground)} background"


def _make_pair_prompt(left: Combination, right: Combination) -> str:
    """Return for example "a red star to the left of a blue circle on a pink background"."""
    return f"{with_article(left[0])} {left[1]} to the left of {make_prompt(right)}"


def score(folder: Path, sheet: Path | None = None, count: int = COMBINATIONS, steps: int | None = None) -> Score:
    """Score the model in `folder`, with its default steps or with `steps`.

    The images of all combinations are written to `sheet`, as one image.
    """
    pipeline, result = OnnxPipeline(folder), Score()
    pipeline.defaults |= {"steps": steps} if steps else {}
    asked = choose_combinations(count)
    images = _generate(pipeline, [make_prompt(combination) for combination in asked], list(range(count)))
    result.verdicts = [(combination, judge(image)) for combination, image in zip(asked, images, strict=True)]
    result.pairs = _judge_pairs(pipeline)
    for seed, place in enumerate(PLACES):
        result.comparisons += _compare_times(pipeline, place, seed)
    if sheet:
        tile(images, columns=10, side=96).save(sheet)
    return result


def _generate(pipeline: OnnxPipeline, prompts: list[str], seeds: list[int]) -> list[ImageArray]:
    images: list[ImageArray] = []
    for low in range(0, len(prompts), BATCH):
        images += list(pipeline.generate(prompts[low : low + BATCH], seeds[low : low + BATCH]))
    return images


def _judge_pairs(pipeline: OnnxPipeline) -> list[tuple[str, bool]]:
    asked = choose_pairs()
    prompts = [_make_pair_prompt(left, right) for left, right in asked]
    judged = map(judge_halves, _generate(pipeline, prompts, list(range(len(asked)))))
    return [
        (prompt, all(itertools.starmap(_is_right, zip(pair, verdicts, strict=True))))
        for prompt, pair, verdicts in zip(prompts, asked, judged, strict=True)
    ]


def _compare_times(pipeline: OnnxPipeline, place: str, seed: int) -> list[tuple[str, bool]]:
    times = sorted({time for _, *both in COMPARISONS for time in both})
    generated = pipeline.generate([f"{place} {time}" for time in times], [seed] * len(times))
    images = dict(zip(times, generated, strict=True))
    return [
        (f"{place}: {measure.__name__} {more} > {less}", measure(images[more]) > measure(images[less]))
        for measure, more, less in COMPARISONS
    ]
