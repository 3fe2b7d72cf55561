"""The web UI's text about how an image was made, read and extended.

::

    a lighthouse at dusk
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Size: 512x512, Model: "a, b"

`filetext` reads it from image files, and writes it into them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_SETTINGS = 2**16  # characters; a longer line is no line of settings
_NEGATIVE = "Negative prompt: "
# The parts of one setting, each matched once where the one before ends: together they read a character twice at most.
_NAME = re.compile(r"[^:,]*+")
_QUOTED = re.compile(r'\s*+"(?:[^"\\]|\\.)*+"(?=,|$)')
_PLAIN = re.compile(r"[^,]*+")


def with_setting(text: str, settings: Mapping[str, str]) -> str:
    """Return the text with more settings at its end."""
    more = ", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items())
    return f"{text}, {more}" if more else text


def taken_apart(text: str) -> dict[str, str]:
    """Return prompts and settings by the web UI's names; `Size: 8x9` is there as `Size-1` and `Size-2` as well."""
    if not text.strip():
        return {}
    lines = text.strip().split("\n")
    settings = lines.pop() if lines[-1].startswith("Steps: ") and len(lines[-1]) <= MAX_SETTINGS else ""
    at = next((number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    prompts = {"Prompt": "\n".join(lines[:at]), "Negative prompt": "\n".join(lines[at:]).removeprefix(_NEGATIVE)}
    found = dict(_settings(settings))
    return prompts | found | _sides(found.get("Size", ""))


def _settings(line: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a line of settings.

    What has no name is passed over.
    """
    at = 0
    while at < len(line):
        end = found.end() if (found := _NAME.match(line, at)) else at
        name, at = line[at:end].strip(), end + 1
        if line[end : end + 1] != ":":
            continue
        value = _QUOTED.match(line, at) or _PLAIN.match(line, at)
        if value and name:
            yield name, _unquoted(value[0].strip())
        at = value.end() + 1 if value else len(line)


def _sides(size: str) -> dict[str, str]:
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    return {"Size-1": match[1], "Size-2": match[2]} if match else {}


def _quoted(value: str) -> str:
    """Return a value as it may stand between commas: as JSON where it holds what separates settings."""
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value
