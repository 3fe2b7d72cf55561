"""The header `Prefer`, as RFC 7240 defines it."""

from __future__ import annotations

import pytest

from tintype.gateway.jobs.prefer import MAX_WAIT, parse_prefer, wait_seconds


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
