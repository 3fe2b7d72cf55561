"""Write captions: the content of an image in one of many wordings.

A caption may omit facts, so that the model also learns short prompts; it never states a false one.
Some sentences are reserved for the score: no caption has their words in their order, see `is_reserved`.
"""

# ruff: noqa: S311 - these random numbers choose words; they keep nothing secret

from __future__ import annotations

import random
import re
import zlib
from typing import TYPE_CHECKING

from .shape_captions import describe_shapes
from .spec import ShapesSpec
from .wording import (  # fmt: skip
    GRAY_DAY,
    GRAY_NOUNS,
    IN_THE_SKY,
    KEYWORDS,
    LIT_ADJECTIVES,
    LIT_BY,
    LIT_NOUNS,
    LITTLE,
    MEDIA,
    MOODS,
    NOUNS,
    OBJECTS,
    PLACES,
    REQUESTS,
    STANDING,
    STYLES,
    SUMMER,
    TIME_ADJECTIVES,
    UNCOUNTED,
    WEATHER_ADJECTIVES,
    WEATHER_NOUNS,
    WEATHER_PHRASES,
    WHEN,
    WITHOUT_ARTICLE,
    choose_weighted,
    phrase_color,
    with_article,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .spec import SceneSpec, Spec

    Words = tuple[str, ...]
    WordTable = Mapping[str, Words]

# Sentences with fewer words are not reserved: a short prompt is more useful to train on than to ask.
LEAST_RESERVED_WORDS = 4
RESERVED_SHARE = 16  # one sentence in so many
_HEAD = re.compile(r" (?:in|by|with|below|at|of|on|among|through|surrounded|reflected|and|between|flowing|full)\b")
_ARTICLES = re.compile(r"\b(?:an?|the) ")


def is_reserved(text: str) -> bool:
    """Return whether a sentence is reserved for the score; case and punctuation make no difference."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return len(words) >= LEAST_RESERVED_WORDS and zlib.crc32(" ".join(words).encode()) % RESERVED_SHARE == 0


def make_captions(content: Spec, count: int = 8) -> list[str]:
    """Return `count` captions of one image; the same spec gives the same captions."""
    rng = random.Random(f"caption {content.seed}")
    return [make_caption(content, rng) for _ in range(count)]


def make_caption(content: Spec, rng: random.Random) -> str:
    """Return one caption, with its wording chosen by `rng`; it is not reserved for the score."""
    while True:
        shapes = isinstance(content, ShapesSpec)
        described = describe_shapes(content, rng) if isinstance(content, ShapesSpec) else _describe_scene(content, rng)
        text = " ".join(_phrase_request(described, rng, styled=0.06 if shapes else 0.2).split())
        if not is_reserved(text):
            return text


def _phrase_request(text: str, rng: random.Random, styled: float) -> str:
    """Add what people write around a description, and omit its articles now and then."""
    asked, text = rng.random(), text.strip()
    if asked < 0.13:
        text = choose_weighted(REQUESTS, rng).format(x=text)
    elif asked < 0.27:
        text = rng.choice(MEDIA) + text
    if rng.random() < styled and text[-1] not in ".?":
        text += ", " + ", ".join(rng.sample(STYLES, rng.choice((1, 1, 2))))
    if rng.random() < 0.2:
        text = _ARTICLES.sub("", text)
    return text + (rng.choice((".", ".", "!", " .")) if rng.random() < 0.1 and text[-1] not in ".?" else "")


def _describe_scene(scene: SceneSpec, rng: random.Random) -> str:
    form = rng.random()
    if form < 0.14:
        return _describe_briefly(scene, rng)
    if form < 0.22:
        return _list_keywords(scene, rng)
    place, weather = _phrase_place(scene, rng)
    objects = _phrase_objects(scene, rng)
    standing = [name for name in scene.objects if name in STANDING]
    if form < 0.30 and standing:
        return _put_in_front(scene, rng.choice(standing), place, rng)
    when = "" if rng.random() < 0.06 else _phrase_time(scene, rng)
    return _combine(place, objects, (when, _name_time(scene, rng), weather), rng)


def _phrase_time(scene: SceneSpec, rng: random.Random) -> str:
    """Return for example "at night"; by moonlight if there is a moon."""
    return _choose_time(scene, (GRAY_DAY, WHEN, LIT_BY), rng)


def _name_time(scene: SceneSpec, rng: random.Random) -> str:
    return _choose_time(scene, (GRAY_NOUNS, NOUNS, LIT_NOUNS), rng)


def _choose_time(scene: SceneSpec, tables: tuple[Words, WordTable, WordTable], rng: random.Random) -> str:
    gray_day, times, lit_by = tables
    for name, phrases in lit_by.items():
        if name in scene.objects and scene.time == "night" and rng.random() < 0.2:
            return rng.choice(phrases)
    return rng.choice(gray_day if _is_gray_day(scene) else times[scene.time])


def _is_gray_day(scene: SceneSpec) -> bool:
    return scene.time == "day" and scene.weather != "clear"


def _combine(place: str, objects: list[str], phrases: tuple[str, str, str], rng: random.Random) -> str:
    when, noun, weather = phrases
    listed, form = " and ".join(objects), rng.random()
    if form < 0.5:
        return _combine_subject_first(place, listed, [words for words in (when, weather) if words], rng)
    if form < 0.62:
        tail = f" with {listed}" if objects else ""
        return f"{noun} {rng.choice(('over', 'over', 'in'))} {_add_article(place, rng)}{tail} {weather}"
    if form < 0.85 and objects:
        flies = any(word in listed for word in ("balloon", "moon", "birds", "stars", "sun"))
        where = "over" if flies else rng.choice(("in", "by", "at", "near", "on", "next to"))
        return f"{listed} {where} {_add_article(place, rng)} {when} {weather}"
    return ", ".join(words for words in (place, *objects, noun, weather) if words)


def _combine_subject_first(place: str, listed: str, circumstances: list[str], rng: random.Random) -> str:
    mood = rng.choice(MOODS) + " " if rng.random() < 0.35 else ""
    subject = _add_article(mood + place, rng)
    if listed:
        subject += rng.choice((" with ", " with ", " with ", ", ", " and ")) + listed
    if rng.random() < 0.25:
        circumstances.reverse()
    return (" " if rng.random() < 0.75 else ", ").join((subject, *circumstances))


def _describe_briefly(scene: SceneSpec, rng: random.Random) -> str:
    """Name one or two facts only: a place, an object, a time."""
    place = scene.water if scene.water in ("lake", "river") and rng.random() < 0.2 else _phrase_place(scene, rng)[0]
    objects = _phrase_objects(scene, rng)[:1]
    form = rng.random()
    if objects and form < 0.3:
        return f"{objects[0]} {_phrase_time(scene, rng) if rng.random() < 0.6 else ''}"
    if form < 0.55:
        return f"{_add_article(place, rng)} {_phrase_time(scene, rng)}"
    if form < 0.65:
        return _add_article(place, rng)
    if form < 0.72:
        return _name_time(scene, rng)
    adjective = _choose_time(scene, (("daytime",), TIME_ADJECTIVES, LIT_ADJECTIVES), rng)
    return _add_article(f"{adjective} {place}", rng) + (f" with {objects[0]}" if objects else "")


def _list_keywords(scene: SceneSpec, rng: random.Random) -> str:
    """Return for example "mountains, lake, sunset"."""
    facts = [rng.choice(KEYWORDS[scene.terrain])]
    if scene.water in KEYWORDS and rng.random() < 0.8:
        facts.append(rng.choice(KEYWORDS[scene.water]))
    facts += [_name_object(name, color, rng) for name, color in scene.objects.items() if rng.random() < 0.7]
    if scene.weather != "clear":
        facts.append(rng.choice((*WEATHER_ADJECTIVES[scene.weather], *WEATHER_NOUNS[scene.weather])))
    if rng.random() < 0.85:
        facts.append(_name_time(scene, rng))
    if rng.random() < 0.35:
        rng.shuffle(facts)
    return rng.choice((", ", ", ", ", ", " ")).join(facts)


def _put_in_front(scene: SceneSpec, name: str, place: str, rng: random.Random) -> str:
    """Return for example "a red house in front of mountains at dusk"."""
    named, ground = _phrase_object(name, scene.objects[name], rng), _add_article(place, rng)
    form = rng.choice(("{0} in front of {1}", "{0} in front of {1}", "{0} with {1} in the background",
                       "{0} with {1} behind", "{1} behind {0}", "{0} before {1}"))  # fmt: skip
    return f"{form.format(named, ground)} {_phrase_time(scene, rng) if rng.random() < 0.7 else ''}"


def _phrase_place(scene: SceneSpec, rng: random.Random) -> tuple[str, str]:
    """Return the place, and the weather unless an adjective of the place already names it."""
    snowy = scene.weather == "snowy"
    places = [place for place in PLACES[scene.terrain, scene.water] if not snowy or not any(s in place for s in SUMMER)]
    place = rng.choice(places)
    if scene.weather == "clear":
        return place, ""
    if rng.random() < 0.5:
        return rng.choice(WEATHER_ADJECTIVES[scene.weather]) + " " + place, ""
    phrases = WEATHER_PHRASES[scene.weather]
    return place, rng.choice([words for words in phrases if scene.time == "day" or not words.endswith(" day")])


def _add_article(place: str, rng: random.Random) -> str:
    if rng.random() < 0.12:
        return "the " + place
    return place if _is_plural(place) or rng.random() < 0.08 else with_article(place)


def _is_plural(place: str) -> bool:
    """Return whether the place needs no article, as "misty rolling hills" or "mountains reflected in a lake"."""
    head = _HEAD.split(place)[0].split()[-1]
    return head.endswith("s") or head in UNCOUNTED


def _phrase_objects(scene: SceneSpec, rng: random.Random) -> list[str]:
    phrases = [
        _phrase_object(name, color, rng)
        for name, color in scene.objects.items()
        if rng.random() < (0.55 if name in IN_THE_SKY and name != "balloon" else 0.85)
    ]
    rng.shuffle(phrases)
    return phrases


def _phrase_object(name: str, color: str, rng: random.Random) -> str:
    words = _name_object(name, color, rng)
    if name in WITHOUT_ARTICLE:
        return words
    return with_article(rng.choice(LITTLE) + " " + words if rng.random() < 0.1 else words)


def _name_object(name: str, color: str, rng: random.Random) -> str:
    if name == "moon":
        return rng.choice(OBJECTS[f"{color or 'full'} moon"])
    words = rng.choice(OBJECTS.get(name, (name,)))
    return f"{phrase_color(color, rng)} {words}" if color and rng.random() < 0.8 else words
