"""Resolution of clients' model names."""

from __future__ import annotations

import pytest

from tintype.gateway.access.model_names import ModelNames
from tintype.gateway.config import GatewayConfig

TABLE = {"dall-e-3": "*", "fast": "turbo"}


@pytest.mark.parametrize(
    ("aliases", "requested", "name"),
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
def test_resolve(aliases: dict[str, str], requested: str, name: str) -> None:
    """Names in the table are replaced, `*` is the default model, other names are kept."""
    assert ModelNames(aliases).resolve(requested) == name


@pytest.mark.parametrize(
    ("allowed", "requested", "name"),
    [
        ((), "gpt-image-9-2031-01-01", "gpt-image-9-2031-01-01"),
        (("own", "org/large"), "gpt-image-9-2031-01-01", "own"),
        (("own",), "dall-e-9", "own"),
        (("own", "gpt-image-mine"), "gpt-image-mine", "gpt-image-mine"),
        (("own",), "other", "other"),
    ],
)
def test_later_openai_names_mean_the_default(allowed: tuple[str, ...], requested: str, name: str) -> None:
    """A caller limited to some models gets its own default; otherwise the service decides."""
    assert ModelNames(TABLE).limited_to(allowed).resolve(requested) == name


@pytest.mark.parametrize(
    ("strict", "aliases", "missing", "fallback"),
    [
        (True, {}, "gpt-image-9", ""),
        (True, {"*": "own"}, "chatgpt-image-2031", "own"),
        (True, {"*": "own"}, "dall-e-9", "own"),
        (True, {"*": "dall-e-9"}, "dall-e-9", None),
        (True, {}, "my-gpt-image-1", None),
        (True, {}, "gpt-image", None),
        (True, {}, "nope", None),
        (False, {}, "nope", ""),
        (False, {"*": "own"}, "nope", "own"),
        (False, {"*": "own"}, "own", None),
        (False, {}, "", None),
    ],
)
def test_fallback(strict: bool, aliases: dict[str, str], missing: str, fallback: str | None) -> None:  # noqa: FBT001
    """An unknown name is replaced once, and only if that is configured."""
    assert ModelNames(aliases, strict).fallback(missing) == fallback


@pytest.mark.parametrize(
    ("aliases", "models", "expected"),
    [
        (TABLE, ["tiny", "turbo"], {"dall-e-3": "tiny", "fast": "turbo"}),
        (TABLE | {"*": "turbo"}, ["tiny", "turbo"], {"dall-e-3": "turbo", "fast": "turbo"}),
        (TABLE, ["tiny"], {"dall-e-3": "tiny"}),
        (TABLE, ["fast", "turbo"], {"dall-e-3": "fast"}),
        (TABLE, [], {}),
    ],
)
def test_aliases_of(aliases: dict[str, str], models: list[str], expected: dict[str, str]) -> None:
    """Aliases refer to served models, and no name occurs twice."""
    assert ModelNames(aliases).aliases_of(models) == expected


def test_configured_aliases_extend_the_built_in_ones() -> None:
    """A configured name is added to the built-in ones; a name mapped to itself is not an alias."""
    names = ModelNames(GatewayConfig(aliases={"big": "org/large", "dall-e-2": "dall-e-2"}).model_aliases)
    assert [names.resolve(name) for name in ("big", "dall-e-3", "dall-e-2")] == ["org/large", "", "dall-e-2"]


def test_usual_names_mean_the_default() -> None:
    """By default, the names that clients send by themselves mean the default model."""
    assert ModelNames(GatewayConfig().model_aliases).resolve("dall-e-3") == ""
