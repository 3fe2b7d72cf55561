"""Forms of sentences about one or two coloured shapes; their combinations are held out of training."""

from __future__ import annotations

import itertools
from functools import cache
from typing import TYPE_CHECKING

from ..scenes.palette import COLORS
from ..scenes.spec import SHAPES, Combination, held_out_combinations
from ..scenes.wording import with_article

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

# For each fact of an image, the values that are right.
Wanted = dict[str, frozenset[str]]
Content = tuple[str, Wanted]
# Forms of one shape {s} of colour {c} on a background {b}; {ac} and {ab} have articles.
ONE_SHAPE = {
    "on a background": ("{ac} {s} on {ab} background", "{ac} {s} lying on {ab} background", "{c} {s} on {b}"),
    "over a background": ("{ac} {s} over {ab} background", "{c} {s} over {b} backdrop"),
    "against a background": ("{c} {s} against {ab} background", "{ac} {s} seen against {ab} background"),
    "background first": ("{b} background with {ac} {s}", "{ab} background showing {ac} {s}", "{b} backdrop, {c} {s}"),
    "in front of a background": ("{ac} {s} in front of {ab} background", "{ac} {s} in front of {ab} wall"),
    "on top of a background": ("{ac} {s} on top of {ab} background", "{c} {s} placed on top of {ab} backdrop"),
    "upper case": ("{ac} {s} on {ab} background", "{c} {s}, {b} background", "{b} background with {ac} {s}"),
    "list of shape words": ("{s}, {c}, {b} background", "{b} background, {s}, {c}", "{c} {s}, {b} background, vector"),
    "brackets": ("{as_} ({c}) on {b}", "{ac} {s} (on {ab} background)", "{s} ({c}), background ({b})"),
    "request for a shape": (
        "draw me {ac} {s} on {b} please", "please give me {ac} {s} on {ab} background", "I'd love {ac} {s} on {b}.",
    ),
    "question": (
        "can you draw {ac} {s} on {ab} background?", "could i get {ac} {s} on {b}?",
        "would you paint {ac} {s} over {ab} background?",
    ),
    "unknown words and a shape": (
        "{ac} {s} on {ab} background, bauhaus mood", "a whimsical {c} {s} on {ab} background",
        "{c} {s} against {b} for my kitchen",
    ),
    "colour after the shape": (
        "{as_} in {c} on {ab} background", "{as_} coloured {c} on {b}", "the {s} should be {c}, the background {b}",
    ),
}  # fmt: skip
SIZED = (("large", ("a large {c} {s} on {ab} background", "big {c} {s} over {b}")),
         ("small", ("a small {c} {s} on {ab} background", "little {c} {s} against {b}")))  # fmt: skip
BARE = (
    "just {ac} {s}",
    "{ac} {s} and nothing else",
    "please draw {ac} {s}",
    "a picture of {ac} {s}",
    "{ac} {s}, vector",
)
# Synonyms that differ from the usual names; captions have them with other shapes and backgrounds.
SYNONYMS = {
    "red": ("crimson", "scarlet"), "yellow": ("golden",), "green": ("emerald",), "blue": ("navy", "royal blue"),
    "purple": ("violet",), "cyan": ("turquoise",), "gray": ("grey", "silver"), "pink": ("hot pink",),
}  # fmt: skip
# Forms of two shapes: {first} is to the left of {second}, or above it.
BESIDE = {
    "two shapes": (
        "two shapes: {first} and {second} on {ab} background", "{first} and {second}, {b} background",
        "{b} background with {first} and {second}",
    ),
    "left and right": (
        "{first} to the left of {second} on {ab} background", "on {ab} background, {second} to the right of {first}",
        "{first} on the left and {second} on the right, {b} background",
    ),
}  # fmt: skip
STACKED = {
    "above and below": (
        "{first} above {second} on {ab} background", "{second} below {first} on {b}",
        "{b} background with {first} on top of {second}",
    ),
}  # fmt: skip


def _fill(template: str, asked: Combination, **names: str) -> str:
    color, shape, ground = asked
    c, b = names.get("c", color), names.get("b", ground)
    return template.format(c=c, s=shape, b=b, ac=with_article(c), ab=with_article(b), as_=with_article(shape))


def _want_shape(color: str, shape: str, background: str = "") -> Wanted:
    wanted = {"color": frozenset({color}), "shape": frozenset({shape})}
    return wanted | ({"background": frozenset({background})} if background else {})


def _ask_one(templates: tuple[str, ...], *, upper: bool) -> Callable[[random.Random], Content]:
    def draw(rng: random.Random) -> Content:
        asked = rng.choice(_list_combinations())
        text = _fill(rng.choice(templates), asked)
        return (rng.choice((text.upper(), text.title())) if upper else text), _want_shape(*asked)

    return draw


def _ask_sized(rng: random.Random) -> Content:
    asked, (size, templates) = rng.choice(_list_combinations()), rng.choice(SIZED)
    return _fill(rng.choice(templates), asked), _want_shape(*asked) | {"size": frozenset({size})}


def _ask_synonym(rng: random.Random) -> Content:
    asked = rng.choice([(c, s, b) for c, s, b in _list_combinations() if c in SYNONYMS or b in SYNONYMS])
    names = {key: rng.choice(SYNONYMS[color]) for key, color in (("c", asked[0]), ("b", asked[2])) if color in SYNONYMS}
    return _fill(rng.choice(("{ac} {s} on {ab} background", "{c} {s} against {b}")), asked, **names), _want_shape(
        *asked
    )


def _ask_bare(rng: random.Random) -> Content:
    color, shape = rng.choice(list(COLORS)), rng.choice(SHAPES)
    return _fill(rng.choice(BARE), (color, shape, color)), _want_shape(color, shape)


@cache
def _list_combinations() -> list[Combination]:
    return held_out_combinations()


@cache
def _list_pairs() -> list[tuple[Combination, Combination]]:
    pairs = itertools.permutations(_list_combinations(), 2)
    return [(a, b) for a, b in pairs if a[2] == b[2] and a[0] != b[0]]


def _ask_two(templates: tuple[str, ...]) -> Callable[[random.Random], Content]:
    def draw(rng: random.Random) -> Content:
        pair = rng.choice(_list_pairs())
        ground = pair[0][2]
        first, second = (f"{with_article(color)} {shape}" for color, shape, _ in pair)
        text = rng.choice(templates).format(first=first, second=second, b=ground, ab=with_article(ground))
        places = zip(("first", "second"), pair, strict=True)
        return text, {f"{place} {name}": one for place, asked in places for name, one in _want_shape(*asked).items()}

    return draw


ONE_SHAPE_FORMS: dict[str, Callable[[random.Random], Content]] = {
    **{name: _ask_one(words, upper=name == "upper case") for name, words in ONE_SHAPE.items()},
    "size": _ask_sized,
    "other words for colours": _ask_synonym,
    "no background": _ask_bare,
}
BESIDE_FORMS = {name: _ask_two(words) for name, words in BESIDE.items()}
STACKED_FORMS = {name: _ask_two(words) for name, words in STACKED.items()}
