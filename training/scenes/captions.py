"""Captions: what a picture shows, said in one of many ways.

Not every fact is said every time, so that a short prompt is at home too.
"""

# ruff: noqa: S311 - chance here draws pictures, nothing secret

from __future__ import annotations

import random

from .spec import Item, SceneSpec, ShapesSpec, Spec
from .wording import (  # fmt: skip
    GRAY_DAY,
    MEDIA,
    MOODS,
    NOUNS,
    OBJECTS,
    PLACES,
    PLURALS,
    STYLES,
    UNCOUNTED,
    WEATHER_ADJECTIVES,
    WEATHER_PHRASES,
    WHEN,
)

_ADJECTIVES = {*MOODS, *(word for words in WEATHER_ADJECTIVES.values() for word in words)}


def captions(content: Spec, count: int = 8) -> list[str]:
    """`count` captions of one picture; the same content gives the same captions."""
    draw = random.Random(f"caption {content.seed}")
    return [caption(content, draw) for _ in range(count)]


def caption(content: Spec, draw: random.Random) -> str:
    """One caption, its wording drawn from `draw`."""
    said = _of_shapes(content, draw) if isinstance(content, ShapesSpec) else _of_scene(content, draw)
    return " ".join(said.split())


def with_article(words: str) -> str:
    """The words with "a" or "an" before them."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def _of_shapes(content: ShapesSpec, draw: random.Random) -> str:
    ground = _background(content.background, draw)
    if len(content.items) == 1:
        medium = draw.choice(MEDIA) if draw.random() < 0.5 else ""
        return medium + _item(content.items[0], draw) + ground
    first, second = (_item(item, draw) for item in content.items)
    return _relation(first, second, stacked=content.stacked, draw=draw) + (ground if draw.random() < 0.7 else "")


def _item(item: Item, draw: random.Random) -> str:
    return with_article(f"{_spelled(item.color, draw)} {item.shape}")


def _spelled(color: str, draw: random.Random) -> str:
    return "grey" if color == "gray" and draw.random() < 0.3 else color


def _background(color: str, draw: random.Random) -> str:
    name = _spelled(color, draw)
    usual = f" on {with_article(name)} background"
    other = (
        f" on {name}",
        f", {name} background",
        f" on {with_article(name)} backdrop",
        f" in front of {with_article(name)} background",
    )
    return draw.choice((usual,) * 4 + other)


def _relation(first: str, second: str, *, stacked: bool, draw: random.Random) -> str:
    if stacked:
        above, below = draw.choice(("above", "on top of", "over")), draw.choice(("below", "under"))
        return draw.choice((f"{first} {above} {second}", f"{first} above {second}", f"{second} {below} {first}"))
    sides = (f"{first} to the left of {second}", f"{second} to the right of {first}")
    return draw.choice((f"{first} next to {second}", f"{first} beside {second}", f"{first} and {second}", *sides))


def _of_scene(scene: SceneSpec, draw: random.Random) -> str:
    place, weather = _place(scene, draw)
    objects = _objects(scene, draw)
    when = draw.choice(GRAY_DAY if scene.time == "day" and scene.weather != "clear" else WHEN[scene.time])
    noun = draw.choice(NOUNS[scene.time]) if scene.time != "day" or scene.weather == "clear" else "day"
    said = _sentence(place, objects, (when, noun, weather), draw)
    if draw.random() < 0.2:
        said = draw.choice(MEDIA) + said
    if draw.random() < 0.25:
        said += ", " + ", ".join(draw.sample(STYLES, draw.choice((1, 1, 2))))
    return said


def _sentence(place: str, objects: list[str], said: tuple[str, str, str], draw: random.Random) -> str:
    when, noun, weather = said
    together, form = " and ".join(objects), draw.random()
    if form < 0.5:
        return _plain(place, together, [words for words in (when, weather) if words], draw)
    if form < 0.65:
        tail = f" with {together}" if objects else ""
        return f"{noun} over {_article(place, draw)}{tail} {weather}"
    if form < 0.85 and objects:
        flies = "balloon" in together or "moon" in together
        where = "over" if flies else draw.choice(("in", "by", "at", "near"))
        return f"{together} {where} {_article(place, draw)} {when} {weather}"
    return ", ".join(words for words in (place, *objects, noun, weather) if words)


def _plain(place: str, together: str, circumstances: list[str], draw: random.Random) -> str:
    mood = draw.choice(MOODS) + " " if draw.random() < 0.5 else ""
    subject = _article(mood + place, draw)
    if together:
        subject += draw.choice((" with ", " with ", ", ")) + together
    if draw.random() < 0.25:
        circumstances.reverse()
    return (" " if draw.random() < 0.75 else ", ").join((subject, *circumstances))


def _place(scene: SceneSpec, draw: random.Random) -> tuple[str, str]:
    """The place, and the weather where the place's adjective has not said it already."""
    place = draw.choice(PLACES[scene.terrain, scene.water])
    if scene.weather == "clear":
        return place, ""
    if draw.random() < 0.5:
        return draw.choice(WEATHER_ADJECTIVES[scene.weather]) + " " + place, ""
    return place, draw.choice(WEATHER_PHRASES[scene.weather])


def _article(place: str, draw: random.Random) -> str:
    return place if _plural(place.split()) or draw.random() < 0.1 else with_article(place)


def _plural(words: list[str]) -> bool:
    """Whether the place is a plural, as in "misty rolling hills" or "mountains reflected in a lake"."""
    head = words[1] if words[0] in _ADJECTIVES and len(words) > 1 else words[0]
    return (words[-1] in PLURALS and "in" not in words) or head in PLURALS


def _objects(scene: SceneSpec, draw: random.Random) -> list[str]:
    said = [
        _object(name, color, draw)
        for name, color in scene.objects.items()
        if draw.random() < (0.6 if name in ("sun", "stars") else 0.88)
    ]
    draw.shuffle(said)
    return said


def _object(name: str, color: str, draw: random.Random) -> str:
    words = draw.choice(OBJECTS.get(name, (name,)))
    if name in UNCOUNTED:
        return words
    return with_article(f"{color} {words}" if color and draw.random() < 0.8 else words)
