"""Forms of sentences about landscapes: phrases, and the facts that they state.

A meadow is right for hills, and hills for a meadow: the judge of landscapes confuses one in ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..scenes.palette import COLORS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from .shape_forms import Content, Wanted


def _facts(**values: str) -> Wanted:
    """Return facts of a landscape; several right values of one are separated by "|"."""
    return {name.replace("_", " "): frozenset(value.split("|")) for name, value in values.items()}


GRASS = "hills|meadow"
ANY = "|".join(("present", *COLORS))
TIMES = {
    "at night": "night", "at midnight": "night", "after dark": "night", "at sunset": "sunset", "at sundown": "sunset",
    "at noon": "day", "at midday": "day", "in the daytime": "day", "at dusk": "dusk", "at twilight": "dusk",
    "at dawn": "sunrise", "at daybreak": "sunrise", "at sunrise": "sunrise", "at nightfall": "dusk|night",
}  # fmt: skip
PLACES: tuple[Content, ...] = (
    ("mountains", _facts(terrain="mountains")), ("a mountain lake", _facts(terrain="mountains", water="lake")),
    ("the hills", _facts(terrain=GRASS)), ("a desert", _facts(terrain="desert")), ("the sea", _facts(terrain="sea")),
    ("a beach", _facts(terrain="beach")), ("a forest", _facts(terrain="forest")), ("a city", _facts(terrain="city")),
    ("a meadow", _facts(terrain=GRASS)), ("a lake in the forest", _facts(terrain="forest", water="lake")),
)  # fmt: skip
# The same places without an article.
NOUNS = tuple((phrase.removeprefix("a ").removeprefix("the "), facts) for phrase, facts in PLACES)
SYNONYMOUS_PLACES: tuple[Content, ...] = (
    ("skyscrapers", _facts(terrain="city")), ("the woods", _facts(terrain="forest")),
    ("sand dunes", _facts(terrain="desert")), ("the seaside", _facts(terrain="beach|sea")),
    ("the coast", _facts(terrain="beach|sea")), ("the ocean", _facts(terrain="sea")),
    ("the countryside", _facts(terrain=GRASS)), ("a field of flowers", _facts(terrain=GRASS)),
    ("the alps", _facts(terrain="mountains")), ("a city skyline", _facts(terrain="city")),
    ("a woodland", _facts(terrain="forest")),
)  # fmt: skip
KEYWORDS: tuple[Content, ...] = (
    ("mountains, lake", _facts(terrain="mountains", water="lake")),
    ("forest, river", _facts(terrain="forest", water="river")), ("city, skyscrapers", _facts(terrain="city")),
    ("desert, cactus", _facts(terrain="desert", cactus="present")),
    ("beach, palm tree", _facts(terrain="beach", palm_tree="present")),
    ("ocean, sailboat", _facts(terrain="sea", sailboat=ANY)),
    ("sea, lighthouse", _facts(terrain="sea", lighthouse="present")),
    ("hills, house", _facts(terrain=GRASS, house=ANY)),
)  # fmt: skip
TIME_KEYWORDS = {"sunset": "sunset", "night": "night", "dusk": "dusk", "sunrise": "sunrise", "noon": "day"}
OBJECTS: tuple[Content, ...] = (
    ("a lighthouse by the sea", _facts(lighthouse="present", terrain="sea|beach")),
    ("a sailboat on a mountain lake", _facts(sailboat=ANY, terrain="mountains", water="lake")),
    ("a palm tree on the beach", _facts(palm_tree="present", terrain="beach")),
    ("a cactus in the desert", _facts(cactus="present", terrain="desert")),
    ("a house in the hills", _facts(house=ANY, terrain=GRASS)),
    ("a hot-air balloon over the mountains", _facts(balloon=ANY, terrain="mountains")),
)
# An object, its colours, its names, and for each place the terrain.
Objects = tuple[tuple[str, tuple[str, ...], tuple[str, ...], dict[str, str]], ...]
STANDING: Objects = (
    (
        "house", ("red", "white", "blue"), ("house", "cottage"),
        {"mountains": "mountains", "rolling hills": GRASS, "a meadow": GRASS},
    ),
    (
        "car", ("red", "blue", "yellow", "green"), ("car", "automobile"),
        {"mountains": "mountains", "desert dunes": "desert", "a city": "city", "hills": GRASS},
    ),
)  # fmt: skip
VEHICLES: Objects = (
    (
        "car", ("red", "blue", "yellow"), ("automobile", "motorcar", "auto"),
        {"in the desert": "desert", "in a city": "city"},
    ),
    (
        "sailboat", ("red", "white", "yellow"), ("yacht", "sailing boat", "boat"),
        {"on the ocean": "sea", "at the beach": "beach"},
    ),
    (
        "balloon", ("red", "yellow", "blue", "purple"), ("hot-air balloon", "balloon"),
        {"over the sea": "sea", "above mountains": "mountains"},
    ),
)  # fmt: skip
TIMES_FIRST: tuple[Content, ...] = (
    ("night-time", _facts(time="night")), ("midnight", _facts(time="night")), ("sunset", _facts(time="sunset")),
    ("midday", _facts(time="day")), ("sunny", _facts(time="day")), ("twilight", _facts(time="dusk")),
    ("early morning", _facts(time="sunrise")), ("moonlit", _facts(time="night|dusk", moon="present")),
)  # fmt: skip
WEATHERS: tuple[Content, ...] = (
    ("in thick fog", _facts(weather="foggy")), ("in the mist", _facts(weather="foggy")),
    ("in heavy rain", _facts(weather="rainy")), ("on a rainy day", _facts(weather="rainy", time="day")),
    ("under a cloudy sky", _facts(weather="cloudy|rainy")), ("covered in snow", _facts(weather="snowy")),
    ("in winter", _facts(weather="snowy")),
)  # fmt: skip
SKIES: tuple[Content, ...] = (
    ("a full moon", _facts(moon="present", time="night|dusk")), ("a starry night", _facts(time="night")),
    ("a hot air balloon", _facts(balloon=ANY)), ("a red balloon", _facts(balloon="red")),
    ("the setting sun", _facts(time="sunset")), ("the moon and a balloon", _facts(balloon=ANY, time="night|dusk")),
)  # fmt: skip


def _ask_scene(templates: tuple[str, ...], *contents: tuple[Content, ...]) -> Callable[[random.Random], Content]:
    """Return a form of a landscape: a template with one phrase of each table, and all of their facts."""

    def draw(rng: random.Random) -> Content:
        chosen = [rng.choice(content) for content in contents]
        wanted = {name: values for _, facts in chosen for name, values in facts.items()}
        return rng.choice(templates).format(*(phrase for phrase, _ in chosen)), wanted

    return draw


def _times(table: Mapping[str, str]) -> tuple[Content, ...]:
    return tuple((phrase, _facts(time=time)) for phrase, time in table.items())


def _ask_object(table: Objects, template: str, endings: tuple[str, ...]) -> Callable[[random.Random], Content]:
    """Return a form of a coloured object at a place."""

    def draw(rng: random.Random) -> Content:
        name, colors, nouns, places = rng.choice(table)
        color, noun, (place, terrain) = rng.choice(colors), rng.choice(nouns), rng.choice(list(places.items()))
        text = template.format(color, noun, place) + rng.choice(endings)
        return text, _facts(terrain=terrain) | {name: frozenset({color})}

    return draw


def _shout(draw: Callable[[random.Random], Content]) -> Callable[[random.Random], Content]:
    """Return the form with every second sentence in upper case."""

    def shout(rng: random.Random) -> Content:
        text, wanted = draw(rng)
        return (text.upper() if rng.random() < 0.5 else text), wanted

    return shout


LANDSCAPE_FORMS: dict[str, Callable[[random.Random], Content]] = {
    "list of landscape words": _ask_scene(
        ("{}, {}, 4k", "{}, {}, wallpaper", "{1}, {0}, high quality", "{}, {}, calm mood", "{1}, {0}, print"),
        KEYWORDS,
        _times(TIME_KEYWORDS),
    ),
    "in front of a landscape": _shout(
        _ask_object(STANDING, "a {} {} in front of {}", ("", " at noon", " at sunset", " at night", ", 4k"))
    ),
    "there is": _ask_scene(("there is {} {}", "There's {} {}."), OBJECTS, _times(TIMES)),
    "time of day": _ask_scene(("{} {}", "a view of {} {}", "{}, {}"), PLACES, _times(TIMES)),
    "time of day first": _ask_scene(
        ("a calm {} {}", "{} {}, wide view", "one {} {} in colour", "a {} {}, no people", "my favourite {} {}"),
        TIMES_FIRST,
        NOUNS,
    ),
    "other words for vehicles": _ask_object(VEHICLES, "a {} {} {}", ("", " at midday", ", please", " on a clear day")),
    "other words for places": _ask_scene(("{} {}", "a photo of {} {}", "{}, {}"), SYNONYMOUS_PLACES, _times(TIMES)),
    "weather": _ask_scene(
        ("{} {}", "a drawing of {} {}", "{} {}, storybook", "{} {}, detailed", "quick sketch of {} {}"),
        (PLACES[0], PLACES[2], *PLACES[6:9]),
        WEATHERS,
    ),
    "above a landscape": _ask_scene(
        ("{} over {}", "{} above {}", "{} high over {}", "{} over {}, in colour"), SKIES, PLACES
    ),
    "unknown words and a landscape": _ask_scene(
        ("cinematic {} {}, unreal engine", "{} {} by a famous painter", "nostalgic {} {}, kodak portra"),
        NOUNS,
        _times(TIMES),
    ),
    "request for a landscape": _ask_scene(
        ("please paint me {} {}", "could you draw {} {}?", "I would like to see {} {}"), PLACES, _times(TIMES)
    ),
}  # fmt: skip
