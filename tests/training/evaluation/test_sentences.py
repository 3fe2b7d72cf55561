"""The sentences of the score: thirty forms, all unseen."""

from collections import Counter

import pytest

from tintype.training.evaluation.sentences import FORMS, LANDSCAPE, choose_sentences
from tintype.training.scenes.captions import is_reserved, make_captions
from tintype.training.scenes.spec import ShapesSpec, is_held_out, make_spec

SENTENCES = choose_sentences()


def test_there_are_thirty_forms_and_two_hundred_sentences() -> None:
    """Every form has seven sentences, no two of which differ in case or punctuation only; they are always the same."""
    assert len(FORMS) == 30
    assert set(Counter(sentence.form for sentence in SENTENCES).values()) == {7}
    assert len({"".join(filter(str.isalnum, s.text.lower())) for s in SENTENCES}) == len(SENTENCES) >= 200
    assert choose_sentences() == SENTENCES


def test_no_sentence_is_a_caption() -> None:
    """No caption has a sentence's words, and shapes with their colours and background are held out of training."""

    def spell(text: str) -> str:
        return "".join(filter(str.isalnum, text.lower()))

    captions = {spell(text) for seed in range(1000) for text in make_captions(make_spec(seed))}
    assert not captions & {spell(sentence.text) for sentence in SENTENCES}
    for sentence in SENTENCES:
        asked = {name.split()[-1]: value for name, (value, *_) in sentence.wanted.items()}
        if "background" in asked:
            assert is_held_out(asked["color"], asked["shape"], asked["background"]), sentence
        else:
            assert is_reserved(sentence.text), sentence


def test_every_sentence_can_be_shown() -> None:
    """The renderer draws images that show what each landscape's sentence says."""
    specs = [spec for seed in range(8_000) if not isinstance(spec := make_spec(seed), ShapesSpec)]
    facts = [
        {"terrain": spec.terrain, "time": spec.time, "weather": spec.weather, "water": spec.water} for spec in specs
    ]
    for sentence in SENTENCES:
        if sentence.reader == LANDSCAPE:
            assert any(
                all(
                    shown.get(name, "present" if spec.objects.get(name) == "" else spec.objects.get(name)) in right
                    or (name == "moon" and "moon" in spec.objects)
                    for name, right in sentence.wanted.items()
                )
                for spec, shown in zip(specs, facts, strict=True)
            ), sentence


def test_a_form_without_enough_unseen_sentences_is_an_error() -> None:
    """The error names the form, and how many sentences it has."""
    with pytest.raises(ValueError, match=r"has only .* unseen sentences; 500 are asked"):
        choose_sentences(500)
