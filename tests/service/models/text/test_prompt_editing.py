"""Prompt editing: the web UI's syntax, its step numbers, and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.complexity import check_linear
from tintype.service.models.text.prompt_editing import (
    MAX_CHANGES,
    MAX_CHARACTERS,
    MAX_TEXTS,
    StepTexts,
    parse_changes,
    replace_and,
    step_texts,
)
from tintype.service.models.text.prompt_weights import MAX_NESTING, PromptSyntaxError

if TYPE_CHECKING:
    from collections.abc import Callable


def schedule(prompt: str, steps: int = 10, earlier: int = 0) -> list[tuple[int, str]]:
    """Return the last step of each text and the text, in order."""
    made = step_texts(parse_changes(prompt), steps, earlier)
    at = [made.texts[made.at(step)] for step in range(steps)]
    return [(step + 1, text) for step, text in enumerate(at) if step + 1 == steps or at[step + 1] != text]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a lake", [(10, "a lake")]),
        ("a [lake:city:3]", [(3, "a lake"), (10, "a city")]),
        ("a [lake: city : 3 ] x", [(3, "a lake x"), (10, "a  city  x")]),
        ("a [lake:.5] x", [(5, "a  x"), (10, "a lake x")]),
        ("a [lake::0.25] x", [(2, "a lake x"), (10, "a  x")]),
        ("[:lake:4]", [(4, ""), (10, "lake")]),
        ("a[b:[c:d:2]:1]e", [(1, "abe"), (2, "ace"), (10, "ade")]),
        ("[a [b:c:4]:d:0.8]", [(4, "a b"), (8, "a c"), (10, "d")]),
        ("[(a:2):3]", [(3, ""), (10, "(a:2)")]),
        ("[a:b:1]", [(1, "a"), (10, "b")]),
        ("[a:b:1.0]", [(10, "a")]),
        ("[a:b:0]", [(10, "b")]),
        ("[a:b:-3]", [(10, "b")]),
        ("[a:b:99]", [(10, "a")]),
        ("[a:b:3.]", [(10, "a")]),
        ("[a:b:1e-1]", [(10, "b")]),  # no point in it: step 0
        ("[a:b:0.29]", [(2, "a"), (10, "b")]),
    ],
)
def test_editing(prompt: str, expected: list[tuple[int, str]]) -> None:
    """A part of a prompt changes after a step; a number with a decimal point is a share of the steps."""
    assert schedule(prompt) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[fe|]male", ["female", "male", "female", "male"]),
        ("[a|b|c] x", ["a x", "b x", "c x", "a x"]),
        ("[a|[b|c]]", ["a", "c", "a", "c"]),
        ("[a|(b:1.1)]", ["a", "(b:1.1)", "a", "(b:1.1)"]),
        ("[[a|b]:c:2]", ["a", "b", "c", "c"]),
    ],
)
def test_alternation(prompt: str, expected: list[str]) -> None:
    """Options alternate step by step, from the first."""
    made = step_texts(parse_changes(prompt), 4)
    assert [made.texts[made.at(step)] for step in range(4)] == expected


@pytest.mark.parametrize(
    "prompt",
    [
        "(a:1.3) [b] ((c))",
        "a [unbalanced",
        "b:c:3] [d",
        "[a:b]",
        "[a:b:c:3]",
        "[a:b:x]",
        "[a:b:]",
        "[a|b:3]",
        "(a:b:3)",
        "[(a:b:3)]",
        "a | b : c",
        r"[a\:b\:3\]",
        r"\[a:b:3]",
        "[a:b:3",
        "\\",
    ],
)
def test_other_brackets_are_kept(prompt: str) -> None:
    """Weights, escapes and unbalanced brackets stay in the text unchanged."""
    assert step_texts(parse_changes(prompt), 10).texts == (prompt,)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("[a:b:0.5]", [(10, "b")]),
        ("[a:b:1.5]", [(5, "a"), (10, "b")]),
        ("[a:b:20]", [(10, "b")]),
        ("[a:b:23]", [(3, "a"), (10, "b")]),
        ("[a:b:99]", [(10, "a")]),
    ],
)
def test_a_second_pass_counts_on(prompt: str, expected: list[tuple[int, str]]) -> None:
    """After 20 steps of a first pass, step 23 is the third of the second pass, and 1.5 is its middle."""
    assert schedule(prompt, earlier=20) == expected


@pytest.mark.parametrize(
    ("prompt", "read_as"),
    [
        ("a AND b", "a, b"),
        ("a cat :1.2 AND a (dog:1.3) :0.8 AND  x", "a cat, a (dog:1.3), x"),
        ("AND a AND", "a"),
        ("a:-.5 AND 16:9", "a, 16"),
        ("SAND and ANDES: 3", "SAND and ANDES: 3"),
        ("a : 1.2", "a : 1.2"),
    ],
)
def test_composition_is_a_comma(prompt: str, read_as: str) -> None:
    """AND becomes a comma, and the weight before it is left out; without AND the text is unchanged."""
    assert replace_and(prompt) == read_as


def test_changes_inside_an_open_bracket() -> None:
    """A bracket that is never closed is text, and changes after it are read."""
    assert schedule("((a][:b:c [d:3]") == [(3, "((a][:b:c "), (10, "((a][:b:c d")]


def test_texts_are_distinct() -> None:
    """A repeated text is listed once: two options over many steps are two texts."""
    assert step_texts(parse_changes("[a|b]"), 150).texts == ("a", "b")


def test_zero_steps_give_the_text_of_one_step() -> None:
    """An image to start from at strength 0 takes no steps, but its prompt is used."""
    assert (
        step_texts(parse_changes("[a:b:2] [c|d]"), 0)
        == step_texts(parse_changes("[a:b:2] [c|d]"), 1)
        == StepTexts(("a c",), (0,))
    )


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("[" * (MAX_NESTING + 1), "not nest brackets more than 50 deep"),
        ("[a|b]" * (MAX_CHANGES + 1), "change in at most 100 places"),
        ("[" + "|".join(map(str, range(MAX_TEXTS + 1))) + "]", "change to at most 64 texts over the steps, not 65"),
        ("x" * (MAX_CHARACTERS // 4) + "[a|b|c|d|e]", "at most 64000 characters in all its texts"),
    ],
)
def test_bounds(prompt: str, problem: str) -> None:
    """The error for a prompt that costs more than some prompts states the bound."""
    with pytest.raises(PromptSyntaxError, match=problem):
        step_texts(parse_changes(prompt), 150)


def test_long_prompts_without_changes_are_allowed() -> None:
    """The bound on characters applies only to prompts that change."""
    assert step_texts(parse_changes("x" * 2 * MAX_CHARACTERS), 10).texts == ("x" * 2 * MAX_CHARACTERS,)


WORST: dict[str, Callable[[int], str]] = {
    "brackets": lambda n: "[a]" * (n // 3),
    "deep": lambda n: ("[" * MAX_NESTING + "]" * MAX_NESTING) * (n // (2 * MAX_NESTING)),
    "never closed": lambda n: "[" * MAX_NESTING + ":" * n,
    "parts": lambda n: "[" + "a:" * (n // 2) + "]",
    "options": lambda n: "[" + "|" * n + "]",
    "numbers": lambda n: "[a:b:" + "1" * n + "x]",
    "spaces": lambda n: "[a:b:" + " " * n + "]",
    "nearly changes": lambda n: "[a:b:x]" * (n // 7),
    "backslashes": lambda n: "\\" * n,
    "compositions": lambda n: "a:1 AND " * (n // 8),
    "spaces before no composition": lambda n: "AND" + " " * n + ":",
    "nested changes": lambda n: "[" * 40 + "a" * n + ":b:3]" * 40,
}


@pytest.mark.parametrize("worst", WORST.values(), ids=WORST)
def test_the_worst_text_takes_linear_work(worst: Callable[[int], str]) -> None:
    """Parsing twice the text and listing its texts takes at most about twice the work."""
    check_linear(lambda text: step_texts(parse_changes(replace_and(text)), 5), worst)
