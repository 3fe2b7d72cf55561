"""Reading a JSON object into a typed value, with errors that name the field, its value and what would be right.

What would be right is said by the type's own JSON schema, so the message can't contradict the description of the API.

Clients write some values in more than one way. Where a field may be left out, an empty text counts as that if the
field is a text, a choice or a size; `1.0` is an integer, as in JSON Schema.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from ..errors import EmptyPrompt, InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Read = TypeVar("Read", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$\.(\w+)")
_MISSING = re.compile(r"missing required field `(\w+)`$")
_NOUNS = {"integer": "an integer", "number": "a number", "string": "a string", "boolean": "true or false"}
_LONGEST = 80  # characters of a bad value that are repeated


def read(kind: type[Read], body: Mapping[str, Any], *, strict: bool = True) -> Read:
    """Return `body` as a `kind`; unknown keys are passed over. Raises InvalidValue.

    Unless `strict`, numbers and booleans may come as text, and an empty text counts as absent in every field that may
    be left out.
    """
    try:
        return msgspec.convert(_eased(kind, body, strict=strict), kind, strict=strict)
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
        return f"one of {listed(schema['enum'])}"
    if "pattern" in schema or "anyOf" in schema:
        return str(schema["description"])
    kind = schema.get("type", "object")
    noun: str = _NOUNS.get(kind) or schema.get("description") or ("a list" if kind == "array" else "an object")
    return noun + _bounds(schema)


def integers(kind: type[msgspec.Struct]) -> frozenset[str]:
    """Return the names of the fields that are integers."""
    return frozenset(key for key, field in _allowed(kind).items() if field.integer)


def listed(values: Iterable[object]) -> str:
    """Return choices as messages name them: `'low', 'high'`."""
    return ", ".join(f"'{value}'" for value in values)


def shown(value: object) -> str:
    """Return a value as messages repeat it, shortened."""
    if isinstance(value, bytes):
        return f"a file of {len(value)} bytes"
    if isinstance(value, list) and any(isinstance(one, bytes) for one in value):
        return f"a list of {len(value)} files"
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]!r}… ({len(value)} characters)"
    text = msgspec.json.encode(value).decode() if not isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST + 2 else text[:_LONGEST] + "…"


class _Allowed(NamedTuple):
    """The type that a field takes.

    It is nothing, a text, an integer, or an object of the type `inner`.
    """

    absent: bool
    text: bool
    integer: bool
    inner: type[msgspec.Struct] | None


def _eased(kind: type[msgspec.Struct], body: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
    """Return the body in the spelling that the type has."""
    fields = _allowed(kind)
    return {key: _spelled(value, fields[key], strict=strict) if key in fields else value for key, value in body.items()}


def _spelled(value: Any, field: _Allowed, *, strict: bool) -> Any:
    if isinstance(value, str) and not value:
        return None if field.absent and (field.text or not strict) else value
    if isinstance(value, float) and value.is_integer() and field.integer:
        return int(value)
    if isinstance(value, dict) and field.inner:
        return _eased(field.inner, value, strict=strict)
    return value


@cache
def _allowed(kind: type[msgspec.Struct]) -> dict[str, _Allowed]:
    return {field.encode_name: _of_type(field.type) for field in msgspec.structs.fields(kind)}


def _of_type(kind: Any) -> _Allowed:
    known = _bare(inspect.type_info(kind))
    options = [_bare(one) for one in (known.types if isinstance(known, inspect.UnionType) else (known,))]
    return _Allowed(
        absent=any(isinstance(one, inspect.NoneType) for one in options),
        text=any(isinstance(one, inspect.StrType | inspect.LiteralType) for one in options),
        integer=any(isinstance(one, inspect.IntType) for one in options),
        inner=next((one.cls for one in options if isinstance(one, inspect.StructType)), None),
    )


def _bare(kind: inspect.Type) -> inspect.Type:
    """Return a type without what is only said of it."""
    return _bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _wrong(kind: type[msgspec.Struct], body: Mapping[str, Any], found: str) -> InvalidValue:
    """Return what msgspec found wrong as an error that names the field."""
    if at := _PATH.search(found):
        return InvalidValue(at[1], f"must be {expected(_properties(kind)[at[1]])}, not {shown(body.get(at[1]))}")
    if missing := _MISSING.search(found):
        return InvalidValue(missing[1], f"is missing, and must be {expected(_properties(kind)[missing[1]])}")
    return InvalidValue("body", found)


def _bounds(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    if "maxLength" in schema:
        return f" of at most {schema['maxLength']} characters"
    return ""


@cache
def _properties(kind: type[msgspec.Struct]) -> dict[str, Any]:
    (_,), components = msgspec.json.schema_components([kind])
    properties: dict[str, Any] = components[kind.__name__]["properties"]
    return properties
