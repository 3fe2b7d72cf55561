"""Which model a client's word means."""

from __future__ import annotations

import pytest

from tintype.gateway.config import GatewayConfig
from tintype.gateway.names import Names

TABLE = {"dall-e-3": "*", "fast": "turbo"}


@pytest.mark.parametrize(
    ("aliases", "asked", "name"),
    [
        (TABLE, "", ""),
        (TABLE, "dall-e-3", ""),
        (TABLE, "fast", "turbo"),
        (TABLE, "other", "other"),
        (TABLE | {"*": "own"}, "", "own"),
        (TABLE | {"*": "own"}, "dall-e-3", "own"),
        (TABLE | {"*": "own"}, "other", "other"),
        (TABLE | {"*": "*"}, "", ""),
        ({}, "*", ""),
    ],
)
def test_resolve(aliases: dict[str, str], asked: str, name: str) -> None:
    """Names in the table are replaced, `*` is the default model, others are passed on."""
    assert Names(aliases).resolve(asked) == name


@pytest.mark.parametrize(
    ("strict", "aliases", "tried", "fallback"),
    [
        (True, {}, "nope", None),
        (False, {}, "nope", ""),
        (False, {"*": "own"}, "nope", "own"),
        (False, {"*": "own"}, "own", None),
        (False, {}, "", None),
    ],
)
def test_fallback(strict: bool, aliases: dict[str, str], tried: str, fallback: str | None) -> None:  # noqa: FBT001
    """An unknown name is replaced once, and only where that is allowed."""
    assert Names(aliases, strict).fallback(tried) == fallback


def test_usual_names() -> None:
    """Out of the box, the names that clients send by themselves mean the default model."""
    assert Names(GatewayConfig().aliases).resolve("dall-e-3") == ""
