"""The header `Prefer`, as RFC 7240 defines it."""

from __future__ import annotations

import pytest

from tintype.gateway.errors import InvalidValue
from tintype.gateway.jobs.prefer import MAX_WAIT, parse_prefer, wait_parameter, wait_seconds


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([], {"": ""}),
        (["respond-async"], {"respond-async": ""}),
        (["Respond-Async, WAIT=10"], {"respond-async": "", "wait": "10"}),
        (["respond-async", 'wait="5"; foo=bar'], {"respond-async": "", "wait": "5"}),
        (["wait=1, wait=2"], {"wait": "1"}),
        ([" wait = 7 ,handling=lenient"], {"wait": "7", "handling": "lenient"}),
    ],
)
def test_preferences(values: list[str], found: dict[str, str]) -> None:
    """Names are case-insensitive, parameters are ignored, and the first of two preferences applies."""
    assert parse_prefer(values) == found


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("20", 20), ("3600", MAX_WAIT), ("-1", 0), ("x", 0), ("1e9", 0), ("9" * 5000, 0)]
)
def test_wait(text: str, seconds: float) -> None:
    """The time is bounded, and a value that is not a number is ignored."""
    assert wait_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "abc", "-1", "nan", "inf", "1e9", "1.5", "9" * 5000, "\u0663"])
def test_invalid_wait_parameters_are_refused(text: str) -> None:
    """The query parameter must be a whole number; the error names it, the value, and what it must be."""
    with pytest.raises(InvalidValue, match=r"Invalid 'wait': must be a whole number of seconds, 0 or more, not '"):
        wait_parameter(text)


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("20", 20), ("999999999", MAX_WAIT)])
def test_wait_parameters_are_bounded(text: str, seconds: float) -> None:
    """A number above the limit means the limit."""
    assert wait_parameter(text) == seconds
