"""Effective settings as text: valid TOML, with the source of each value in a comment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .definitions import SECTIONS, is_secret, settings_of
from .values import SIZE, format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .definitions import Setting
    from .sources import Found, Sources

HEADER = "# Effective settings with their sources; valid as tintype.toml. `#` marks settings without a value.\n"


def format_config(sources: Sources, sections: Sequence[str]) -> str:
    """Return the settings of some sections as TOML."""
    return HEADER + "".join(f"\n[{section}]\n{_section(sources, section)}" for section in sections)


def find_problems(sources: Sources, sections: Sequence[str]) -> list[str]:
    """Return why values of some sections are invalid."""
    found = (each for section in sections for each in sources.find_all(SECTIONS[section]).values())
    return list(dict.fromkeys(each.problem for each in found if each.problem))


def _section(sources: Sources, section: str) -> str:
    found = sources.find_all(SECTIONS[section])
    lines = [_line(setting, found[name]) for name, setting in settings_of(SECTIONS[section]).items()]
    width = max(len(text) for text, _ in lines)
    return "".join(f"{text.ljust(width)}  # {source}\n" for text, source in lines)


def _line(setting: Setting, found: Found) -> tuple[str, str]:
    """Return a setting's line of TOML, commented out if it has no value or a secret one, and its source."""
    if found.problem:
        return f"# {setting.name}", found.problem
    if is_secret(setting.name, found.value):
        return f"# {setting.name} is set", found.source
    text = toml_value(setting, found.value)
    return (f"{setting.name} = {text}" if text else f"# {setting.name}"), found.source


def toml_value(setting: Setting, value: object) -> str:
    """Return a value as TOML; empty if it is None, or if it is empty by default."""
    if value is None or (value in ((), "", {}) and value == setting.default):
        return ""
    if setting.type is SIZE and isinstance(value, int):
        text = format_size(value)
        return _quote(text) if value and parse_size(text) == value else str(value)
    return _toml(value)


def _toml(value: object) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(_pairs(value))} }}"
    return _quote(str(value))


def _pairs(value: dict[str, str]) -> Iterator[str]:
    yield from (f"{_quote(key)} = {_quote(item)}" for key, item in value.items())


def _quote(text: str) -> str:
    """Return a TOML string: JSON's escapes are valid in it, except DEL, which TOML requires to be escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
