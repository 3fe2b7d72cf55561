"""The sentences of the score: thirty forms in which people write prompts, and what each must show.

A sentence is unseen: no caption of training has its words in their order.

- Sentences that name a shape, its colour and its background have combinations that no image of training shows.
- All others are sentences that `captions.is_reserved` keeps out of the captions.

Unseen are whole sentences and those combinations, not every wording: captions of other content have most of them.
Captions have none of "lying on", "seen against", "showing", "wall", "placed", "kitchen", "above" a place, "cinematic".
"""

# ruff: noqa: S311 - these random numbers choose sentences; they keep nothing secret

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..scenes.captions import is_reserved
from .landscape_forms import LANDSCAPE_FORMS
from .shape_forms import BESIDE_FORMS, ONE_SHAPE_FORMS, STACKED_FORMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shape_forms import Content, Wanted

# Draws of each form; most of a landscape's sentences are seen.
DRAWS = 1000
# How an image is read: as one shape, two shapes side by side or one above the other, or a landscape.
SHAPE, BESIDE, STACKED, LANDSCAPE = "shape", "beside", "stacked", "landscape"
# For each form, how images are read, and the function that draws a sentence and what it wants.
FORMS: dict[str, tuple[str, Callable[[random.Random], Content]]] = {
    name: (reader, draw)
    for reader, forms in (
        (SHAPE, ONE_SHAPE_FORMS),
        (BESIDE, BESIDE_FORMS),
        (STACKED, STACKED_FORMS),
        (LANDSCAPE, LANDSCAPE_FORMS),
    )
    for name, draw in forms.items()
}


@dataclass(frozen=True)
class Sentence:
    """A prompt, its form, how its image is read, and for each fact the readings that are right."""

    form: str
    text: str
    reader: str
    wanted: Wanted


def choose_sentences(each: int = 7) -> list[Sentence]:
    """Return `each` different sentences of every form, which are always the same."""
    chosen: list[Sentence] = []
    for form, (reader, draw) in FORMS.items():
        rng = random.Random(f"sentences {form}")
        drawn = (draw(rng) for _ in range(DRAWS))
        # Two sentences that differ in punctuation only are one.
        unseen = {_spell(text): (text, wanted) for text, wanted in drawn if _is_unseen(text, wanted)}
        if len(unseen) < each:
            raise ValueError(f"the form {form!r} has only {len(unseen)} unseen sentences; {each} are asked")
        chosen += [Sentence(form, text, reader, wanted) for text, wanted in list(unseen.values())[:each]]
    return chosen


def _spell(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _is_unseen(text: str, wanted: Wanted) -> bool:
    """Return whether no caption is this sentence: its combinations are held out, or its words are reserved."""
    return any(name.endswith("background") for name in wanted) or is_reserved(text)
