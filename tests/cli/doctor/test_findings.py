"""Findings as text and as JSON."""

from __future__ import annotations

import json

from tintype.cli.doctor.findings import Finding, Section, format_json, format_text

SECTIONS = (
    Section("disk", "disk space", [Finding("hub cache", {"free": 5}, "5 B free"), Finding("x", 1, note="a\nb")]),
    Section("a/b", "model a/b", [Finding("source", "hub", problem="one\ntwo")], group="models"),
)


def test_text_is_aligned() -> None:
    """Values are aligned within a section; problems and notes follow their finding, a line each."""
    assert format_text(SECTIONS) == (
        "disk space\n  hub cache  5 B free\n  x          1\n             - a\n             - b\n\n"
        "model a/b\n  source  hub\n          ! one\n          ! two\n"
    )


def test_json_has_values() -> None:
    """JSON has values, not texts; names have no blanks, and models are in an object of their own."""
    content = json.loads(format_json(SECTIONS))
    assert content["disk"] == {"hub_cache": {"free": 5}, "x": 1, "problems": [], "notes": ["a\nb"]}
    assert content["models"] == {"a/b": {"source": "hub", "problems": ["one", "two"], "notes": []}}
