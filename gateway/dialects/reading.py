"""Convert JSON objects to typed values, with errors that name the field, its value and what would be right.

The type itself says what would be right, so a message cannot contradict the description of the API.

Some clients write the same value in several ways. If a field may be absent, an empty string counts as absent for
strings, choices and sizes; `1.0` is an integer, as in JSON Schema.
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

Body = TypeVar("Body", bound=msgspec.Struct)

_PATH = re.compile(r" - at `\$\.(\w+)")
_MISSING = re.compile(r"missing required field `(\w+)`$")
_NOUNS: dict[type[inspect.Type], str] = {
    inspect.IntType: "an integer",
    inspect.FloatType: "a number",
    inspect.StrType: "a string",
    inspect.BoolType: "true or false",
    inspect.ListType: "a list",
}
_MAX_SHOWN = 80  # characters of an invalid value that a message repeats


def read(kind: type[Body], body: Mapping[str, Any], *, strict: bool = True, truncate: bool = False) -> Body:
    """Return `body` as a `kind`; unknown keys are ignored. Raises InvalidValue.

    Unless `strict`, numbers and booleans may be strings, and an empty string counts as absent in every field that may
    be absent. `truncate` cuts the fraction of a number off if the field is an integer.
    """
    try:
        return msgspec.convert(_normalized(kind, body, strict=strict, truncate=truncate), kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _invalid(kind, body, str(error)) from error


def check_prompt(body: Mapping[str, Any]) -> None:
    """Raise EmptyPrompt if the prompt is missing or blank."""
    prompt = body.get("prompt")
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        raise EmptyPrompt(missing=prompt is None)


def unknown(kind: type[msgspec.Struct], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of `body` that are not fields of `kind` and whose value is not null."""
    known = _types(kind)
    return tuple(key for key, value in body.items() if key not in known and value is not None)


def listed(values: Iterable[object]) -> str:
    """Return choices as messages name them: `'low', 'high'`."""
    return ", ".join(f"'{value}'" for value in values)


def shown(value: object) -> str:
    """Return a value as messages repeat it, shortened."""
    if isinstance(value, bytes):
        return f"a file of {len(value)} bytes"
    if isinstance(value, list) and any(isinstance(one, bytes) for one in value):
        return f"a list of {len(value)} files"
    if isinstance(value, str) and len(value) > _MAX_SHOWN:
        return f"{value[:_MAX_SHOWN]!r}… ({len(value)} characters)"
    text = msgspec.json.encode(value).decode() if not isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_SHOWN + 2 else text[:_MAX_SHOWN] + "…"


class _FieldType(NamedTuple):
    """Which values a field takes: null, a string, an integer, or an object of the type `inner`."""

    null: bool
    string: bool
    integer: bool
    inner: type[msgspec.Struct] | None


def _normalized(kind: type[msgspec.Struct], body: Mapping[str, Any], **options: bool) -> dict[str, Any]:
    """Return the body with each value in the spelling that its field takes."""
    fields = _field_types(kind)
    return {key: _value(value, fields[key], **options) if key in fields else value for key, value in body.items()}


def _value(value: Any, field: _FieldType, *, strict: bool, truncate: bool) -> Any:
    if isinstance(value, str) and not value:
        return None if field.null and (field.string or not strict) else value
    if isinstance(value, float) and field.integer and (truncate or value.is_integer()):
        return int(value)
    if isinstance(value, dict) and field.inner:
        return _normalized(field.inner, value, strict=strict, truncate=False)
    return value


@cache
def _types(kind: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """Return the type of each field, by its JSON key."""
    return {field.encode_name: inspect.type_info(field.type) for field in msgspec.structs.fields(kind)}


@cache
def _field_types(kind: type[msgspec.Struct]) -> dict[str, _FieldType]:
    return {key: _field_type(known) for key, known in _types(kind).items()}


def _field_type(known: inspect.Type) -> _FieldType:
    options = [_bare(option) for option in _options(known)]
    return _FieldType(
        null=any(isinstance(one, inspect.NoneType) for one in options),
        string=any(isinstance(one, inspect.StrType | inspect.LiteralType) for one in options),
        integer=any(isinstance(one, inspect.IntType) for one in options),
        inner=next((one.cls for one in options if isinstance(one, inspect.StructType)), None),
    )


def _bare(known: inspect.Type) -> inspect.Type:
    """Return a type without its description."""
    return _bare(known.type) if isinstance(known, inspect.Metadata) else known


def _options(known: inspect.Type) -> tuple[inspect.Type, ...]:
    """Return the members of a union; any other type is its own only member."""
    bare = _bare(known)
    return tuple(bare.types) if isinstance(bare, inspect.UnionType) else (bare,)


def _invalid(kind: type[msgspec.Struct], body: Mapping[str, Any], found: str) -> InvalidValue:
    """Return an error of msgspec as one that names the field."""
    if at := _PATH.search(found):
        return InvalidValue(at[1], f"must be {_expected(_types(kind)[at[1]])}, not {shown(body.get(at[1]))}")
    if missing := _MISSING.search(found):
        return InvalidValue(missing[1], f"is missing, and must be {_expected(_types(kind)[missing[1]])}")
    return InvalidValue("body", found)


def _expected(known: inspect.Type) -> str:
    """Say in words which values a field takes: `an integer from 1 to 10`."""
    options = (option for option in _options(known) if not isinstance(option, inspect.NoneType))
    return " or ".join(_format(option) for option in options)


def _format(option: inspect.Type) -> str:
    """Say in words which values one member of a union allows: its own description, if it has one."""
    if isinstance(option, inspect.Metadata):
        text = (option.extra_json_schema or {}).get("description")
        return str(text) if text else _format(option.type)
    if isinstance(option, inspect.LiteralType):
        return f"one of {listed(option.values)}"
    return _NOUNS.get(type(option), "an object") + _bounds(option)


def _bounds(option: inspect.Type) -> str:
    if isinstance(option, inspect.IntType | inspect.FloatType) and option.ge is not None:
        return f" from {option.ge} to {option.le}"
    if isinstance(option, inspect.StrType) and option.max_length is not None:
        return f" of at most {option.max_length} characters"
    return ""
