"""Write captions: the content of an image in one of many wordings.

A caption of a landscape or of two shapes may omit facts, so that the model also learns short prompts.
"""

# ruff: noqa: S311 - these random numbers choose words; they keep nothing secret

from __future__ import annotations

import random

from .spec import ColoredShape, SceneSpec, ShapesSpec, Spec
from .wording import (  # fmt: skip
    GRAY_DAY,
    MEDIA,
    MOODS,
    NOUNS,
    OBJECTS,
    PLACES,
    PLURALS,
    STYLES,
    WEATHER_ADJECTIVES,
    WEATHER_PHRASES,
    WHEN,
    WITHOUT_ARTICLE,
)

_ADJECTIVES = {*MOODS, *(word for words in WEATHER_ADJECTIVES.values() for word in words)}


def make_captions(content: Spec, count: int = 8) -> list[str]:
    """Return `count` captions of one image; the same spec gives the same captions."""
    rng = random.Random(f"caption {content.seed}")
    return [make_caption(content, rng) for _ in range(count)]


def make_caption(content: Spec, rng: random.Random) -> str:
    """Return one caption, with its wording chosen by `rng`."""
    text = _describe_shapes(content, rng) if isinstance(content, ShapesSpec) else _describe_scene(content, rng)
    return " ".join(text.split())


def with_article(words: str) -> str:
    """Return the words with "a" or "an" before them."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def _describe_shapes(content: ShapesSpec, rng: random.Random) -> str:
    ground = _phrase_background(content.background, rng)
    if len(content.items) == 1:
        medium = rng.choice(MEDIA) if rng.random() < 0.5 else ""
        return medium + _name_shape(content.items[0], rng) + ground
    first, second = (_name_shape(item, rng) for item in content.items)
    return _relate(first, second, stacked=content.stacked, rng=rng) + (ground if rng.random() < 0.7 else "")


def _name_shape(item: ColoredShape, rng: random.Random) -> str:
    return with_article(f"{_spell(item.color, rng)} {item.shape}")


def _spell(color: str, rng: random.Random) -> str:
    return "grey" if color == "gray" and rng.random() < 0.3 else color


def _phrase_background(color: str, rng: random.Random) -> str:
    name = _spell(color, rng)
    usual = f" on {with_article(name)} background"
    other = (
        f" on {name}",
        f", {name} background",
        f" on {with_article(name)} backdrop",
        f" in front of {with_article(name)} background",
    )
    return rng.choice((usual,) * 4 + other)


def _relate(first: str, second: str, *, stacked: bool, rng: random.Random) -> str:
    if stacked:
        above, below = rng.choice(("above", "on top of", "over")), rng.choice(("below", "under"))
        return rng.choice((f"{first} {above} {second}", f"{first} above {second}", f"{second} {below} {first}"))
    sides = (f"{first} to the left of {second}", f"{second} to the right of {first}")
    return rng.choice((f"{first} next to {second}", f"{first} beside {second}", f"{first} and {second}", *sides))


def _describe_scene(scene: SceneSpec, rng: random.Random) -> str:
    place, weather = _phrase_place(scene, rng)
    objects = _phrase_objects(scene, rng)
    when = rng.choice(GRAY_DAY if scene.time == "day" and scene.weather != "clear" else WHEN[scene.time])
    noun = rng.choice(NOUNS[scene.time]) if scene.time != "day" or scene.weather == "clear" else "day"
    text = _combine(place, objects, (when, noun, weather), rng)
    if rng.random() < 0.2:
        text = rng.choice(MEDIA) + text
    if rng.random() < 0.25:
        text += ", " + ", ".join(rng.sample(STYLES, rng.choice((1, 1, 2))))
    return text


def _combine(place: str, objects: list[str], phrases: tuple[str, str, str], rng: random.Random) -> str:
    when, noun, weather = phrases
    listed, form = " and ".join(objects), rng.random()
    if form < 0.5:
        return _combine_subject_first(place, listed, [words for words in (when, weather) if words], rng)
    if form < 0.65:
        tail = f" with {listed}" if objects else ""
        return f"{noun} over {_add_article(place, rng)}{tail} {weather}"
    if form < 0.85 and objects:
        flies = "balloon" in listed or "moon" in listed
        where = "over" if flies else rng.choice(("in", "by", "at", "near"))
        return f"{listed} {where} {_add_article(place, rng)} {when} {weather}"
    return ", ".join(words for words in (place, *objects, noun, weather) if words)


def _combine_subject_first(place: str, listed: str, circumstances: list[str], rng: random.Random) -> str:
    mood = rng.choice(MOODS) + " " if rng.random() < 0.5 else ""
    subject = _add_article(mood + place, rng)
    if listed:
        subject += rng.choice((" with ", " with ", ", ")) + listed
    if rng.random() < 0.25:
        circumstances.reverse()
    return (" " if rng.random() < 0.75 else ", ").join((subject, *circumstances))


def _phrase_place(scene: SceneSpec, rng: random.Random) -> tuple[str, str]:
    """Return the place, and the weather unless an adjective of the place already names it."""
    place = rng.choice(PLACES[scene.terrain, scene.water])
    if scene.weather == "clear":
        return place, ""
    if rng.random() < 0.5:
        return rng.choice(WEATHER_ADJECTIVES[scene.weather]) + " " + place, ""
    return place, rng.choice(WEATHER_PHRASES[scene.weather])


def _add_article(place: str, rng: random.Random) -> str:
    return place if _is_plural(place.split()) or rng.random() < 0.1 else with_article(place)


def _is_plural(words: list[str]) -> bool:
    """Return whether the place is a plural, as in "misty rolling hills" or "mountains reflected in a lake"."""
    head = words[1] if words[0] in _ADJECTIVES and len(words) > 1 else words[0]
    return (words[-1] in PLURALS and "in" not in words) or head in PLURALS


def _phrase_objects(scene: SceneSpec, rng: random.Random) -> list[str]:
    phrases = [
        _phrase_object(name, color, rng)
        for name, color in scene.objects.items()
        if rng.random() < (0.6 if name in ("sun", "stars") else 0.88)
    ]
    rng.shuffle(phrases)
    return phrases


def _phrase_object(name: str, color: str, rng: random.Random) -> str:
    words = rng.choice(OBJECTS.get(name, (name,)))
    if name in WITHOUT_ARTICLE:
        return words
    return with_article(f"{color} {words}" if color and rng.random() < 0.8 else words)
