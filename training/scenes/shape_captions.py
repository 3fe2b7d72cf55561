"""Describe one or two coloured shapes on a background, in the ways that people write prompts.

A template names the shapes {a}, the background {b}, or the background with an article {ab}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .wording import choose_weighted, phrase_color, with_article

if TYPE_CHECKING:
    import random

    from .spec import ColoredShape, ShapesSpec

# Templates and their relative frequencies.
GROUNDS = {
    "{a} on {ab} background": 24, "{a} on {b}": 8, "{a}, {b} background": 6, "{a} on {ab} backdrop": 3,
    "{a} in front of {ab} background": 4, "{a} over {ab} background": 5, "{a} against {ab} background": 5,
    "{a} against {ab} backdrop": 1, "{a} with {ab} background": 4, "{a} on top of {ab} background": 3,
    "{a} on a plain {b} background": 2, "{a} on a solid {b} background": 2, "{a} (on {b})": 1,
    "{a} set against {b}": 1, "{a}, background {b}": 1, "{a}, on {b}": 1, "{a} over {b}": 2, "{a} against {b}": 2,
    "{b} background with {a}": 5, "{ab} background with {a}": 5, "{b} background, {a}": 4,
    "{ab} background with {a} on it": 1, "on {ab} background, {a}": 2, "{b} backdrop with {a}": 1,
    "{ab} background and {a}": 2, "{a} and {ab} background": 2, "{a} surrounded by {b}": 1, "{a} on {b} paper": 1,
    "{a}. the background is {b}": 1, "{a}, the background is {b}": 1, "{a} in front of {b}": 1,
}  # fmt: skip
# Templates with the shape {s} and its colour {c} apart; {as} has an article.
APART = {
    "{s}, {c}, {b} background": 4, "{s} ({c}) on {b}": 2, "{as} ({c}) on {ab} background": 2,
    "{as} in {c} on {b}": 2, "{as} in {c} on {ab} background": 2, "the {s} is {c} and the background is {b}": 2,
    "the {s} is {c}, the background is {b}": 1, "{s}: {c}, background: {b}": 1, "{c} {s}, {b}": 1,
    "{as} coloured {c} on {b}": 1, "{as} colored {c} on {ab} background": 1, "{as} that is {c} on {b}": 1,
    "{c} colored {s} on {ab} background": 1, "{c} coloured {s} on {b}": 1, "{s} {c} {b} background": 1,
    "{b} background, {s}, {c}": 1, "{as} painted {c} over {ab} background": 1, "{b} background, {s} in {c}": 1,
}  # fmt: skip
# Templates with two shapes: {l} and {r} are left and right, or {u} above {d}.
SIDES = {
    "{l} to the left of {r}": 6, "{r} to the right of {l}": 6, "{l} next to {r}": 4, "{l} beside {r}": 3,
    "{l} and {r}": 7, "{l} left of {r}": 2, "{r} right of {l}": 2, "{l} on the left and {r} on the right": 3,
    "{l} on the left, {r} on the right": 1, "on the left {l}, on the right {r}": 1, "{l} and {r} side by side": 2,
    "left {l}, right {r}": 1, "{l} & {r}": 1, "{l}, {r}": 2, "two shapes: {l} and {r}": 2, "{l} with {r}": 1,
    "{l} and {r} next to each other": 1, "{l} + {r}": 1, "two shapes, {l} and {r}": 1, "{l} alongside {r}": 1,
}  # fmt: skip
STACKS = {
    "{u} above {d}": 8, "{u} on top of {d}": 4, "{u} over {d}": 4, "{d} below {u}": 4, "{d} under {u}": 3,
    "{d} beneath {u}": 1, "{d} underneath {u}": 1, "{u} at the top and {d} at the bottom": 1,
    "{u} with {d} below it": 1, "top: {u}, bottom: {d}": 1, "two shapes: {u} above {d}": 1, "{u} higher than {d}": 1,
}  # fmt: skip
NAMES = {
    "circle": ("disc", "disk", "round circle"), "square": ("square shape",), "triangle": ("triangle shape",),
    "star": ("five-pointed star", "star shape"), "heart": ("love heart", "heart shape"),
    "diamond": ("rhombus", "diamond shape"),
}  # fmt: skip
PLAIN = ("simple", "plain", "single", "nice", "perfect", "flat", "cute", "solid", "beautiful", "lovely")
SMALL, LARGE = ("small", "little"), ("large", "big", "huge")


def describe_shapes(content: ShapesSpec, rng: random.Random) -> str:
    """Return a description; some omit the background or a colour."""
    ground = phrase_color(content.background, rng)
    if len(content.items) == 1 and rng.random() < 0.22:
        item = content.items[0]
        shape = _name_shape(item.shape, rng)
        words = {"s": shape, "as": with_article(shape), "c": phrase_color(item.color, rng), "b": ground}
        return choose_weighted(APART, rng).format(ab=with_article(ground), **words)
    subject = _describe_items(content, rng)
    if rng.random() < (0.14 if len(content.items) == 1 else 0.25):
        return subject
    return choose_weighted(GROUNDS, rng).format(a=subject, b=ground, ab=with_article(ground))


def _describe_items(content: ShapesSpec, rng: random.Random) -> str:
    if len(content.items) == 1:
        size = _size_word(content.size, rng) if rng.random() < 0.45 else ""
        named = _name_item(content.items[0], rng, size)
        return named + rng.choice((" in the middle", " in the center", " in the centre")) * (rng.random() < 0.05)
    first, second = content.items
    if first.shape == second.shape and not content.stacked and rng.random() < 0.25:
        colors = [phrase_color(item.color, rng) for item in content.items]
        form = rng.choice(("{al} and {ar} {s}", "two {s}s, {l} and {r}", "two {s}s: {l} and {r}"))
        left, right = (with_article(color) for color in colors)
        return form.format(al=left, ar=right, l=colors[0], r=colors[1], s=first.shape)
    near, far = (_name_item(item, rng) for item in content.items)
    if content.stacked:
        return choose_weighted(STACKS, rng).format(u=near, d=far)
    return choose_weighted(SIDES, rng).format(l=near, r=far)


def _size_word(size: float, rng: random.Random) -> str:
    return rng.choice(SMALL) if size < 0.25 else rng.choice(LARGE) if size > 0.75 else ""


def _name_item(item: ColoredShape, rng: random.Random, size: str = "") -> str:
    """Return for example "a red circle"; a few names omit the colour or have an adjective."""
    color = phrase_color(item.color, rng) if rng.random() > 0.04 else ""
    plain = rng.choice(PLAIN) if rng.random() < 0.06 else ""
    return with_article(f"{plain} {size} {color} {_name_shape(item.shape, rng)}")


def _name_shape(shape: str, rng: random.Random) -> str:
    return rng.choice(NAMES[shape]) if rng.random() < 0.07 else shape
