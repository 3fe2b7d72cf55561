"""Weights of words: brackets, numbers, nesting, escapes; what closes nothing is text."""

from __future__ import annotations

import pytest

from tintype.service.models.weights import parse


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", [("", 1)]),
        ("a cat", [("a cat", 1)]),
        ("a (red) cat", [("a ", 1), ("red", 1.1), (" cat", 1)]),
        ("a [red] cat", [("a ", 1), ("red", 1 / 1.1), (" cat", 1)]),
        ("((red))", [("red", 1.21)]),
        ("([red])", [("red", 1)]),
        ("(red:1.3) cat", [("red", 1.3), (" cat", 1)]),
        ("(red:.5)", [("red", 0.5)]),
        ("( red : 2 )", [(" red ", 2)]),
        ("(a (b:2) c:1.5)", [("a ", 1.5), ("b", 3), (" c", 1.5)]),
        ("[a:2]", [("a:2", 1 / 1.1)]),
        (r"\(a\) \[b\] \\", [("(a) [b] \\", 1)]),
        (r"(\(:1.2)", [("(", 1.2)]),
        ("a) b", [("a) b", 1)]),
        ("a] (b]", [("a] ", 1), ("b]", 1.1)]),
        ("(a (b", [("a ", 1.1), ("b", 1.21)]),
        ("a:1.3) b", [("a:1.3) b", 1)]),
        ("16:9 (x:y)", [("16:9 ", 1), ("x:y", 1.1)]),
        ("()", [("", 1)]),
        ("\\", [("\\", 1)]),
    ],
)
def test_syntax(text: str, segments: list[tuple[str, float]]) -> None:
    """Each text has its weight, in order, and no sign that means one is left."""
    found = parse(text)
    assert [words for words, _ in found] == [words for words, _ in segments]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in segments])


def test_deep_nesting_is_no_trouble() -> None:
    """A prompt of brackets alone neither recurses nor takes long."""
    assert parse("(" * 32_000) == [("", 1)]
