"""The measurement of work distinguishes linear from quadratic parsers."""

from __future__ import annotations

import re

import pytest

from tests.support.complexity import check_linear, steps


def test_steps_follow_the_length() -> None:
    """Twice the loop is about twice the steps, also on a busy machine."""
    assert steps(lambda: [n + 1 for n in range(2000)]) > 1.9 * steps(lambda: [n + 1 for n in range(1000)])


def test_linear_passes() -> None:
    """Splitting a text at spaces is linear, in C and in Python."""
    check_linear(str.split, lambda n: "a " * (n // 2))
    check_linear(lambda text: [letter for letter in text if letter != " "], lambda n: "a " * (n // 2), 20_000)


def test_quadratic_python_fails() -> None:
    """A nested loop is found."""
    with pytest.raises(AssertionError, match="steps"):
        check_linear(lambda text: [a == b for a in text for b in text], lambda n: "a" * n, 400)


def test_quadratic_regular_expression_fails() -> None:
    """A pattern that looks ahead from every position to the end is found, although it is one C call."""
    with pytest.raises(AssertionError, match="s for"):
        check_linear(re.compile(r"a[^!]*!").findall, lambda n: "a" * n, 40_000)
