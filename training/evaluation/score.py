"""How well the model does what it is asked.

100 combinations of shape colour, shape and background that training never showed: right only if all three are right.
100 pairs of such shapes side by side: right only if all five parts are right and in their places.
And 30 comparisons of one place at two times of day with the same seed: which is brighter, which has the warmer sky.
"""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..scenes.captions import with_article
from ..scenes.spec import Triple, held_out_triples
from .judges import Picture, Verdict, brightness, judge, judge_halves, warmth
from .pipeline import Painter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMBINATIONS = 100
SIDE_BY_SIDE = 100
WANTED = 0.90
BATCH = 4
PLACES = (
    "a mountain lake", "a mountain range", "rolling hills", "a desert", "a sandy beach",
    "the ocean", "a pine forest", "a flower meadow", "a city skyline", "a lake between hills",
)  # fmt: skip
# (what must be more, where, than where)
COMPARISONS: tuple[tuple[Callable[[Picture], float], str, str], ...] = (
    (brightness, "at noon", "at night"),
    (warmth, "at sunset", "at noon"),
    (brightness, "at sunset", "at night"),
)


@dataclass
class Score:
    """Verdicts by combination, and which pairs of shapes and which comparisons came out right."""

    verdicts: list[tuple[Triple, Verdict]] = field(default_factory=list)
    pairs: list[tuple[str, bool]] = field(default_factory=list)
    comparisons: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def combinations(self) -> float:
        """The fraction of combinations that came out right."""
        return float(np.mean([_right(*row) for row in self.verdicts]))

    @property
    def times(self) -> float:
        """The fraction of comparisons that came out right."""
        return float(np.mean([right for _, right in self.comparisons]))

    def report(self) -> str:
        """The score in words, with everything that went wrong."""
        count = len(self.verdicts)
        color, shape, ground = (np.mean([part[k] for part in map(_parts, self.verdicts)]) for k in range(3))
        overlap = np.mean([verdict.overlap for _, verdict in self.verdicts])
        wrong = [f"  {' '.join(asked)}: {verdict}" for asked, verdict in self.verdicts if not _right(asked, verdict)]
        wrong += [f"  {said}" for said, right in self.pairs + self.comparisons if not right]
        beside = np.mean([right for _, right in self.pairs])
        parts = f"shape colour {color:.2f}, shape {shape:.2f}, background {ground:.2f}; mean overlap {overlap:.3f}"
        lines = [
            f"unseen combinations right: {self.combinations:.2f} of {count}  ({parts})",
            f"unseen pairs of shapes right: {beside:.2f} of {len(self.pairs)}",
            f"times of day right: {self.times:.2f} of {len(self.comparisons)} comparisons",
        ]
        return "\n".join([*lines, *(["wrong:", *wrong] if wrong else [])])


def _parts(row: tuple[Triple, Verdict]) -> tuple[bool, bool, bool]:
    (color, shape, ground), verdict = row
    return color == verdict.color, shape == verdict.shape, ground == verdict.background


def _right(asked: Triple, verdict: Verdict) -> bool:
    return all(_parts((asked, verdict)))


def asked_for(count: int = COMBINATIONS) -> list[Triple]:
    """The held-out combinations that the score asks for, always the same."""
    return random.Random("score").sample(held_out_triples(), count)


def pairs_asked_for(count: int = SIDE_BY_SIDE) -> list[tuple[Triple, Triple]]:
    """Two held-out combinations of one background and two shape colours, left and right, always the same."""
    apart = [
        (left, right)
        for left, right in itertools.permutations(held_out_triples(), 2)
        if left[2] == right[2] and left[0] != right[0]
    ]
    return random.Random("pairs").sample(apart, count)


def prompt_of(asked: Triple) -> str:
    """What the model is asked for."""
    color, shape, ground = asked
    return f"{with_article(color)} {shape} on {with_article(ground)} background"


def score(folder: Path, sheet: Path | None = None, count: int = COMBINATIONS) -> Score:
    """Ask the model in `folder`; keep all answers as one picture at `sheet`."""
    painter, result = Painter(folder), Score()
    asked = asked_for(count)
    pictures = _painted(painter, [prompt_of(triple) for triple in asked], list(range(count)))
    result.verdicts = [(triple, judge(picture)) for triple, picture in zip(asked, pictures, strict=True)]
    result.pairs = _pairs(painter)
    for seed, place in enumerate(PLACES):
        result.comparisons += _times(painter, place, seed)
    if sheet:
        tiled(pictures, columns=10, side=96).save(sheet)
    return result


def _painted(painter: Painter, prompts: list[str], seeds: list[int]) -> list[Picture]:
    made: list[Picture] = []
    for low in range(0, len(prompts), BATCH):
        made += list(painter.paint(prompts[low : low + BATCH], seeds[low : low + BATCH]))
    return made


def _pairs(painter: Painter) -> list[tuple[str, bool]]:
    asked = pairs_asked_for()
    prompts = [_side_by_side(left, right) for left, right in asked]
    judged = map(judge_halves, _painted(painter, prompts, list(range(len(asked)))))
    return [
        (prompt, all(itertools.starmap(_right, zip(pair, verdicts, strict=True))))
        for prompt, pair, verdicts in zip(prompts, asked, judged, strict=True)
    ]


def _side_by_side(left: Triple, right: Triple) -> str:
    """For example "a red star to the left of a blue circle on a pink background"."""
    return f"{with_article(left[0])} {left[1]} to the left of {prompt_of(right)}"


def _times(painter: Painter, place: str, seed: int) -> list[tuple[str, bool]]:
    times = sorted({time for _, *both in COMPARISONS for time in both})
    pictures = dict(zip(times, painter.paint([f"{place} {time}" for time in times], [seed] * len(times)), strict=True))
    return [
        (f"{place}: {measure.__name__} {more} > {less}", measure(pictures[more]) > measure(pictures[less]))
        for measure, more, less in COMPARISONS
    ]


def tiled(pictures: list[Picture], columns: int, side: int) -> Image.Image:
    """Pictures in rows, each shrunk to `side`."""
    whole = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for place, picture in enumerate(pictures):
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(small, (place % columns * side, place // columns * side))
    return whole
