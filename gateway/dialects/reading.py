"""Reading a JSON object into a typed value, with errors that name the field, its value and what would be right.

What would be right is said by the type's own JSON schema, so the message can't contradict the description of the API.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import EmptyPrompt, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Mapping

Read = TypeVar("Read", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$\.(\w+)")
_MISSING = re.compile(r"missing required field `(\w+)`$")
_NOUNS = {"integer": "an integer", "number": "a number", "string": "a string", "boolean": "true or false"}
_LONGEST = 80  # characters of a bad value that are repeated


def read(kind: type[Read], body: Mapping[str, Any], *, strict: bool = True) -> Read:
    """Return `body` as a `kind`; keys that it doesn't know are passed over. Raises InvalidValue.

    Unless `strict`, text is taken for numbers and truths.
    """
    try:
        return msgspec.convert(body, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _wrong(kind, body, str(error)) from error


def check_prompt(body: Mapping[str, Any]) -> None:
    """Raise EmptyPrompt where there is nothing to draw."""
    prompt = body.get("prompt")
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        raise EmptyPrompt(missing=prompt is None)


def unknown(kind: type[msgspec.Struct], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of `body` that `kind` doesn't know and that have a value."""
    known = _properties(kind)
    return tuple(key for key, value in body.items() if key not in known and value is not None)


def expected(schema: Mapping[str, Any]) -> str:
    """Say in words what a JSON schema allows: `an integer from 1 to 10`."""
    if "anyOf" in schema and "description" not in schema:
        return " or ".join(expected(option) for option in schema["anyOf"] if option.get("type") != "null")
    if "enum" in schema:
        return "one of " + ", ".join(f"'{value}'" for value in schema["enum"])
    if "pattern" in schema or "anyOf" in schema:
        return str(schema["description"])
    kind = schema.get("type", "object")
    noun: str = _NOUNS.get(kind) or schema.get("description") or ("a list" if kind == "array" else "an object")
    return noun + _bounds(schema)


def _wrong(kind: type[msgspec.Struct], body: Mapping[str, Any], found: str) -> InvalidValue:
    """Return what msgspec found wrong as an error that names the field."""
    if at := _PATH.search(found):
        return InvalidValue(at[1], f"must be {expected(_properties(kind)[at[1]])}, not {_shown(body.get(at[1]))}")
    if missing := _MISSING.search(found):
        return InvalidValue(missing[1], f"is missing, and must be {expected(_properties(kind)[missing[1]])}")
    return InvalidValue("body", found)


def _bounds(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    if "maxLength" in schema:
        return f" of at most {schema['maxLength']} characters"
    return ""


def _shown(value: object) -> str:
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]!r}… ({len(value)} characters)"
    text = msgspec.json.encode(value).decode() if not isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST + 2 else text[:_LONGEST] + "…"


@cache
def _properties(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([kind])
    properties: dict[str, Any] = components[kind.__name__]["properties"]
    return properties
