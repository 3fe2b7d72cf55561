"""Captions: reproducible, true, and written in the ways that people write prompts."""

# ruff: noqa: S311

import random
import re

import pytest

from tintype.training.scenes.captions import is_reserved, make_caption, make_captions
from tintype.training.scenes.spec import SHAPES, ColoredShape, SceneSpec, ShapesSpec, make_spec
from tintype.training.scenes.wording import SYNONYMS

SEEDS = range(1000)
# What a word says about a landscape, and the phrases in which it says something else.
TIMES = {
    "sunrise": r"sunrise|dawn|morning|daybreak|first light|sun rises",
    "day": r"\bday\b|daytime|daylight|noon|midday|afternoon|sunshine",
    "sunset": r"sunset|sundown|sun sets|golden hour|evening|setting sun",
    "dusk": r"dusk|twilight",
    "night": r"night|dark\b|moonlit|in the moonlight|by moonlight|under the (?:moon|stars)",
}
WEATHERS = {
    "cloudy": r"cloud|overcast", "snowy": r"snowy|winter|snow-covered|\bsnow\b(?! capped|-capped| white)|snows",
    "rainy": r"rain|storm|wet\b", "foggy": r"fog|mist|hazy",
}  # fmt: skip
TERRAINS = {
    "mountains": r"mountain|\balps|alpine|peaks", "hills": r"hill|countryside", "desert": r"desert|dune",
    "beach": r"beach|coast|seaside|shore", "forest": r"forest|woods|woodland", "meadow": r"meadow|field|grassland",
    "city": r"city|skyline|skyscraper|downtown|town|building|urban",
}  # fmt: skip
OBJECTS = {
    "balloon": r"balloon", "sailboat": r"boat|yacht|ship", "house": r"house|cabin|cottage|\bhut|home",
    "car": r"\bcar\b|auto\b|automobile", "lighthouse": r"lighthouse", "birds": r"birds", "moon": r"moon",
    "stars": r"star", "cactus": r"cactus", "palm tree": r"palm",
}  # fmt: skip
SHAPE_WORDS = {
    "circle": r"circle|dis[ck]\b", "square": r"square", "triangle": r"triangle", "star": r"star", "heart": r"heart",
    "diamond": r"diamond|rhombus",
}  # fmt: skip


def colors_in(text: str) -> set[str]:
    """Return the colours that a text names by any of their names."""
    named = {"grey": "gray", **{name: name for name in SYNONYMS}}
    named |= {other: name for name, others in SYNONYMS.items() for other in others}
    pattern = "|".join(sorted(map(re.escape, named), key=len, reverse=True))
    return {named[word] for word in re.findall(rf"\b(?:{pattern})\b", text)}


def false_facts(scene: SceneSpec, text: str) -> set[str]:
    """Return the facts that a text states and the scene does not have."""
    text = re.sub("hot-air|green hills|snowy peaks", "", text)
    text = text.replace("lighthouse", "beacon") if "lighthouse" in scene.objects else text
    dusk = re.sub("nightfall|after sun(?:set|down)|blue hour", "dusk", text)
    said = {name for name, words in TIMES.items() if re.search(words, dusk)} - {scene.time}
    said |= {name for name, words in WEATHERS.items() if re.search(words, text)} - {scene.weather}
    said |= {name for name, words in TERRAINS.items() if re.search(words, text)} - {scene.terrain}
    said |= {name for name, words in OBJECTS.items() if re.search(words, text)} - set(scene.objects)
    said |= {"lake", "river"} & set(text.split()) - {scene.water}
    return said | colors_in(re.sub("golden hour|blue (?:hour|sky)", "", text)) - set(scene.objects.values())


def test_same_content_same_captions() -> None:
    """The same spec gives the same captions."""
    assert [make_captions(make_spec(seed)) for seed in range(30)] == [
        make_captions(make_spec(seed)) for seed in range(30)
    ]


def test_captions_of_landscapes_are_true() -> None:
    """No caption names a time, a weather, a place, an object or a colour that its image does not have."""
    wrong = [
        (text, facts)
        for scene in map(make_spec, SEEDS)
        if isinstance(scene, SceneSpec)
        for text in make_captions(scene)
        if (facts := false_facts(scene, text))
    ]
    assert wrong == []


def test_a_false_caption_is_found() -> None:
    """The test above fails for a caption of another image."""
    scene = SceneSpec(0, "sea", "night", "clear", "sea", {"sailboat": "red"})
    assert false_facts(scene, "a red yacht on the ocean after dark") == set()
    said = "a blue house in front of foggy mountains at dawn"
    assert false_facts(scene, said) == {"blue", "house", "foggy", "mountains", "sunrise"}


def test_captions_of_shapes_are_true() -> None:
    """No caption names a shape or a colour that its image does not have; left and right, above and below are right."""
    for content in map(make_spec, SEEDS):
        if isinstance(content, ShapesSpec):
            shapes = {item.shape for item in content.items}
            colors = {item.color for item in content.items} | {content.background}
            for text in make_captions(content):
                assert {name for name in SHAPES if re.search(SHAPE_WORDS[name], text)} == shapes, text
                assert colors_in(text) <= colors, text


@pytest.mark.parametrize("stacked", [False, True])
def test_places_of_two_shapes_are_true(stacked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The shape that a caption puts to the left, or above, is the first one."""
    content = ShapesSpec(0, "pink", (ColoredShape("red", "star"), ColoredShape("blue", "heart")), stacked, 0.5)
    first, second = r"(?:star|star shape)", r"(?:heart|heart shape)"
    backwards = (
        rf"{second}.* (?:above|over|on top of|higher than) (?:\w+ ){{0,4}}{first}",
        rf"{first}.* (?:below|under|beneath|underneath) (?:\w+ ){{0,4}}{second}",
        rf"{second}.* left of.*{first}", rf"{first}.* right of.*{second}",
    )  # fmt: skip
    for seed in range(1500):
        text = make_caption(content, random.Random(seed))
        assert not any(re.search(pattern, text) for pattern in backwards), text
        if not re.search(r"right of|below|under|beneath", text):
            assert text.index("star") < text.index("heart")


def test_all_wordings_are_used() -> None:
    """Among the captions of one image are the wordings of a stranger's prompts."""
    content = ShapesSpec(0, "blue", (ColoredShape("red", "circle"),), stacked=False, size=0.9)
    texts = {make_caption(content, random.Random(seed)) for seed in range(3000)}
    for words in (
        "a red circle on a blue background", "red circle against a blue background",
        "a red circle over a blue background",
        "blue background with a red circle", "circle, red, blue background", "a circle (red) on a blue background",
        "draw me a red circle on blue please", "a red circle", "crimson circle", "navy", "large red circle",
        "a red circle in front of a blue background", "a red circle on top of a blue background",
    ):  # fmt: skip
        assert any(words.removeprefix("a ") in text for text in texts), words
    scene = SceneSpec(0, "mountains", "sunset", "clear", "lake", {"house": "red"})
    texts = {make_caption(scene, random.Random(seed)) for seed in range(3000)}
    for words in (
        "mountains, lake",
        "house in front of",
        "at sundown",
        "there is a",
        "cottage",
        "?",
        "mountain lake at",
    ):
        assert any(words in text for text in texts), words


def test_captions_are_single_lines_of_ascii() -> None:
    """Captions are not empty, are ASCII and lower case, and have single spaces."""
    for seed in range(500):
        for said in make_captions(make_spec(seed), 2):
            assert said == " ".join(said.split()).lower()
            assert said
            assert said.isascii()


def test_reserved_sentences_are_no_captions() -> None:
    """A reserved sentence stays reserved in upper case and with punctuation, and no caption is one."""
    said = next(text for number in range(99) if is_reserved(text := f"a red circle number {number}"))
    assert is_reserved(said.upper() + "!")
    assert not any(is_reserved(text) for seed in range(300) for text in make_captions(make_spec(seed)))
    assert not is_reserved("a red circle")
