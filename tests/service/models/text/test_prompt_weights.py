"""Prompt weights: brackets, numbers, nesting, escapes; an unmatched closing bracket is text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.complexity import check_linear
from tintype.service.models.text.prompt_weights import MAX_NESTING, PromptSyntaxError, parse_weights

if TYPE_CHECKING:
    from collections.abc import Callable


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
        (r"a\:b \| c", [("a:b | c", 1)]),
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
    """Each text has its weight, in order; brackets with a meaning are removed."""
    (found,) = parse_weights(text)
    assert [words for words, _ in found] == [words for words, _ in segments]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in segments])


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("a BREAK b", [[("a", 1)], [("b", 1)]]),
        ("a, BREAK\nb", [[("a,", 1)], [("b", 1)]]),
        ("BREAK a", [[("", 1)], [("a", 1)]]),
        ("a BREAK BREAK b BREAK", [[("a", 1)], [("", 1)], [("b", 1)], [("", 1)]]),
        ("(a BREAK b:1.3) c", [[("a", 1.3)], [("b", 1.3), (" c", 1)]]),
        ("(a) BREAK [b]", [[("a", 1.1), ("", 1)], [("", 1), ("b", 1 / 1.1)]]),
        ("BREAKFAST break Break", [[("BREAKFAST break Break", 1)]]),
        ("BRE()AK", [[("BREAK", 1)]]),
    ],
)
def test_break_begins_a_section(text: str, sections: list[list[tuple[str, float]]]) -> None:
    """BREAK as a separate word ends a section anywhere, and the space around it is removed."""
    found = parse_weights(text)
    assert [[words for words, _ in section] for section in found] == [[words for words, _ in each] for each in sections]
    for section, expected in zip(found, sections, strict=True):
        assert [weight for _, weight in section] == pytest.approx([weight for _, weight in expected])


def test_the_innermost_weight_is_the_first_factor() -> None:
    """Weights are multiplied from the inside out, so each product is bit-identical."""
    assert parse_weights("(a (b (c:1.3) d:1.7):0.9)")[0][2] == ("c", 1.0 * 1.3 * 1.7 * 0.9)


WORST: dict[str, Callable[[int], str]] = {
    "open": lambda n: "(" * MAX_NESTING + "a" * (n - MAX_NESTING),
    "flat": lambda n: "(a)" * (n // 3),
    "deep": lambda n: ("(" * MAX_NESTING + "a" + ")" * MAX_NESTING) * (n // (2 * MAX_NESTING + 1)),
    "never closed": lambda n: "(a" * (n // 2),
    "weights": lambda n: "(a:1.1)" * (n // 7),
    "digits": lambda n: "(a:" + "1" * n,
    "spaces": lambda n: "(a:1" + " " * n,
    "colons": lambda n: ":" * n,
    "breaks": lambda n: "BREAK " * (n // 6),
    "space before no break": lambda n: " " * n + "x",
    "backslashes": lambda n: "\\" * n,
}


@pytest.mark.parametrize("worst", WORST.values(), ids=WORST)
def test_the_worst_text_takes_linear_work(worst: Callable[[int], str]) -> None:
    """Parsing twice the text takes at most about twice the work, for any brackets."""
    check_linear(parse_weights, worst)


@pytest.mark.parametrize("text", ["(a" * (MAX_NESTING + 1), "[" * 32_000, "([" * 20_000])
def test_nesting_is_bounded(text: str) -> None:
    """The error for deeper brackets says how to write a bracket as text."""
    with pytest.raises(PromptSyntaxError, match=rf"not nest brackets more than {MAX_NESTING} deep; write \\\( or"):
        parse_weights(text)
    assert parse_weights("(" * MAX_NESTING + "a")


@pytest.mark.parametrize("text", ["(a:1001)", "(a:-1001)", f"(a:{'9' * 400})", "((a:999):999)"])
def test_weights_are_bounded(text: str) -> None:
    """A weight that would make embeddings infinite is rejected."""
    with pytest.raises(PromptSyntaxError, match="must have weights from -1000 to 1000, not"):
        parse_weights(text)
