"""How well the model does what it is asked.

100 combinations of shape colour, shape and background that training never showed: right only if all three are right.
And 30 pairs of one place at two times of day with the same seed: which is brighter, which has the warmer sky.
"""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .captions import with_article
from .judges import Picture, Verdict, brightness, judge, warmth
from .painter import Painter
from .spec import Triple, held_out_triples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMBINATIONS = 100
WANTED = 0.90
BATCH = 4
PLACES = (
    "a mountain lake", "a mountain range", "rolling hills", "a desert", "a sandy beach",
    "the ocean", "a pine forest", "a flower meadow", "a city skyline", "a lake between hills",
)  # fmt: skip
# (what must be more, where, than where)
PAIRS: tuple[tuple[Callable[[Picture], float], str, str], ...] = (
    (brightness, "at noon", "at night"),
    (warmth, "at sunset", "at noon"),
    (brightness, "at sunset", "at night"),
)


@dataclass
class Score:
    """Verdicts by combination, and which pairs came out right."""

    verdicts: list[tuple[Triple, Verdict]] = field(default_factory=list)
    pairs: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def combinations(self) -> float:
        """The fraction of combinations that came out right."""
        return float(np.mean([_right(*row) for row in self.verdicts]))

    @property
    def times(self) -> float:
        """The fraction of pairs that came out right."""
        return float(np.mean([right for _, right in self.pairs]))

    def report(self) -> str:
        """The score in words, with everything that went wrong."""
        count = len(self.verdicts)
        color, shape, ground = (np.mean([part[k] for part in map(_parts, self.verdicts)]) for k in range(3))
        overlap = np.mean([verdict.overlap for _, verdict in self.verdicts])
        wrong = [f"  {' '.join(asked)}: {verdict}" for asked, verdict in self.verdicts if not _right(asked, verdict)]
        wrong += [f"  {said}" for said, right in self.pairs if not right]
        parts = f"shape colour {color:.2f}, shape {shape:.2f}, background {ground:.2f}; mean overlap {overlap:.3f}"
        lines = [
            f"unseen combinations right: {self.combinations:.2f} of {count}  ({parts})",
            f"times of day right: {self.times:.2f} of {len(self.pairs)} pairs",
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
    for seed, place in enumerate(PLACES):
        result.pairs += _times(painter, place, seed)
    if sheet:
        tiled(pictures, columns=10, side=96).save(sheet)
    return result


def _painted(painter: Painter, prompts: list[str], seeds: list[int]) -> list[Picture]:
    made: list[Picture] = []
    for low in range(0, len(prompts), BATCH):
        made += list(painter.paint(prompts[low : low + BATCH], seeds[low : low + BATCH]))
    return made


def _times(painter: Painter, place: str, seed: int) -> list[tuple[str, bool]]:
    times = sorted({time for _, *both in PAIRS for time in both})
    pictures = dict(zip(times, painter.paint([f"{place} {time}" for time in times], [seed] * len(times)), strict=True))
    return [
        (f"{place}: {measure.__name__} {more} > {less}", measure(pictures[more]) > measure(pictures[less]))
        for measure, more, less in PAIRS
    ]


def tiled(pictures: list[Picture], columns: int, side: int) -> Image.Image:
    """Pictures in rows, each shrunk to `side`."""
    whole = Image.new("RGB", (columns * side, -(-len(pictures) // columns) * side))
    for place, picture in enumerate(pictures):
        small = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(small, (place % columns * side, place // columns * side))
    return whole
