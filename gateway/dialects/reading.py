"""Convert JSON objects to typed values, with errors that name the field, its value and what would be right.

What would be right is derived from the field's type, so a message cannot contradict the description of the API.

Clients write the same value in several ways. In an optional field that is a string, a choice or a size, an empty string
counts as absent. `1.0` is an integer, as in JSON Schema.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from ..errors import EmptyPrompt, InvalidValue
from ..http.forms import NumberedList

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

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


def convert(kind: type[Body], body: Mapping[str, Any], *, strict: bool = True, truncate: bool = False) -> Body:
    """Return `body` as a `kind`; unknown keys are ignored. Raises InvalidValue.

    Unless `strict`, numbers and booleans may be strings, and an empty string counts as absent in every optional field.
    With `truncate`, a number for an integer field loses its fraction.
    """
    try:
        return msgspec.convert(_normalize(kind, body, strict=strict, truncate=truncate), kind, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidValue(*_find_fault(kind, body, str(error), strict=strict)) from error


def check_prompt(body: Mapping[str, Any]) -> None:
    """Raise EmptyPrompt if the prompt is missing or blank."""
    prompt = body.get("prompt")
    if prompt is None or (isinstance(prompt, str) and not prompt.strip()):
        raise EmptyPrompt(missing=prompt is None)


def unknown_keys(kind: type[msgspec.Struct], body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of `body` that are not fields of `kind` and whose value is not null.

    Keys of objects inside have their place, such as `controls[0].odd`.
    """
    fields = _field_types(kind)
    found: list[str] = []
    for key, value in body.items():
        if key not in fields:
            found += [key] if value is not None else []
        else:
            found += _unknown_inside(fields[key], key, value)
    return tuple(found)


def _unknown_inside(field: _FieldType, key: str, value: Any) -> Iterator[str]:
    """Yield the unknown keys of the objects in a value."""
    if isinstance(value, dict) and field.inner:
        yield from (f"{key}.{one}" for one in unknown_keys(field.inner, value))
    if isinstance(value, list) and field.item:
        for place, item in zip(item_keys(key, value), value, strict=True):
            if isinstance(item, dict):
                yield from (f"{place}.{one}" for one in unknown_keys(field.item, item))


def item_keys(key: str, items: Sequence[Any]) -> list[str]:
    """Return the client's names of the items of a list: `loras[0]`, or `loras[7]` if a form numbers them so."""
    numbers = items.numbers if isinstance(items, NumberedList) else range(len(items))
    return [f"{key}[{number}]" for number in numbers]


def given_keys(body: Mapping[str, Any], *keys: str) -> tuple[str, ...]:
    """Return those of `keys` that the client sent; null and an empty text count as absent."""
    return tuple(key for key in keys if body.get(key) not in (None, ""))


def quote_choices(values: Iterable[object]) -> str:
    """Return choices quoted for a message: `'low', 'high'`."""
    return ", ".join(f"'{value}'" for value in values)


def format_value(value: object) -> str:
    """Return a value for a message, shortened."""
    if isinstance(value, bytes):
        return f"a file of {len(value)} bytes"
    if isinstance(value, list) and any(isinstance(one, bytes) for one in value):
        return f"a list of {len(value)} files"
    if isinstance(value, str) and len(value) > _MAX_SHOWN:
        return f"{value[:_MAX_SHOWN]!r}… ({len(value)} characters)"
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return f"a list of {len(value)} objects"
    if isinstance(value, list) and any(isinstance(one, str) and len(one) > _MAX_SHOWN for one in value):
        return f"a list of {len(value)} items"
    text = msgspec.json.encode(value).decode() if not isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_SHOWN + 2 else text[:_MAX_SHOWN] + "…"


class _FieldType(NamedTuple):
    """Which values a field takes: null, a string, an integer, an object of the type `inner`, a list of type `item`.

    `texts` says that it takes a list of strings; a list has at most `max_length` items.
    """

    null: bool
    string: bool
    integer: bool
    inner: type[msgspec.Struct] | None
    item: type[msgspec.Struct] | None
    texts: bool
    max_length: int | None


def _normalize(kind: type[msgspec.Struct], body: Mapping[str, Any], **options: bool) -> dict[str, Any]:
    """Return the body with each value converted to a type that its field accepts, where possible."""
    fields = _field_types(kind)
    return {
        key: _normalize_value(value, fields[key], **options) if key in fields else value for key, value in body.items()
    }


def _normalize_value(value: Any, field: _FieldType, *, strict: bool, truncate: bool) -> Any:
    if isinstance(value, str) and not value:
        return None if field.null and (field.string or not strict) else value
    if isinstance(value, float) and field.integer and (truncate or value.is_integer()):
        return int(value)
    if isinstance(value, dict) and field.inner:
        return _normalize(field.inner, value, strict=strict, truncate=False)
    if isinstance(value, list) and field.item:
        item = field.item
        return [_normalize(item, one, strict=strict, truncate=False) if isinstance(one, dict) else one for one in value]
    return value


@cache
def _msgspec_types(kind: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """Return the type of each field, by its JSON key."""
    return {field.encode_name: inspect.type_info(field.type) for field in msgspec.structs.fields(kind)}


@cache
def _field_types(kind: type[msgspec.Struct]) -> dict[str, _FieldType]:
    return {key: _field_type(known) for key, known in _msgspec_types(kind).items()}


def _field_type(known: inspect.Type) -> _FieldType:
    options = [_without_metadata(option) for option in _union_members(known)]
    lists = [one for one in options if isinstance(one, inspect.ListType)]
    items = [_without_metadata(one.item_type) for one in lists]
    return _FieldType(
        null=any(isinstance(one, inspect.NoneType) for one in options),
        string=any(isinstance(one, inspect.StrType | inspect.LiteralType) for one in options),
        integer=any(isinstance(one, inspect.IntType) for one in options),
        inner=_struct(options),
        item=_struct(items),
        texts=any(isinstance(one, inspect.StrType) for one in items),
        max_length=next((one.max_length for one in lists), None),
    )


def _struct(options: Iterable[inspect.Type]) -> type[msgspec.Struct] | None:
    return next((one.cls for one in options if isinstance(one, inspect.StructType)), None)


def _without_metadata(known: inspect.Type) -> inspect.Type:
    """Return a type without its description."""
    return _without_metadata(known.type) if isinstance(known, inspect.Metadata) else known


def _union_members(known: inspect.Type) -> tuple[inspect.Type, ...]:
    """Return the members of a union; any other type is its own only member, and any value keeps its description."""
    bare = _without_metadata(known)
    if isinstance(bare, inspect.AnyType):
        return (known,)
    return tuple(bare.types) if isinstance(bare, inspect.UnionType) else (bare,)


def _find_fault(kind: type[msgspec.Struct], body: Mapping[str, Any], found: str, *, strict: bool) -> tuple[str, str]:
    """Return the field of an error of msgspec, and what is wrong with it."""
    if match := _PATH.search(found):
        key, value = match[1], body.get(match[1])
        limit = _field_types(kind)[key].max_length
        excess = len(value) if isinstance(value, list) and limit is not None and len(value) > limit else 0
        shown = f"got {excess}" if excess else f"not {format_value(value)}"
        fault = key, f"must be {_describe_field(kind, key)}, {shown}"
        return fault if excess else _find_item_fault(kind, key, value, strict=strict) or fault
    if match := _MISSING.search(found):
        return match[1], f"is missing, and must be {_describe_field(kind, match[1])}"
    return "body", found


def _find_item_fault(kind: type[msgspec.Struct], key: str, value: Any, *, strict: bool) -> tuple[str, str] | None:
    """Return the first invalid item of a list, or field of an item: `loras[1].weight`; None if there is none."""
    field = _field_types(kind)[key]
    if not isinstance(value, list):
        return None
    if field.item is None:
        return _find_text_fault(field, key, value)
    for place, item in zip(item_keys(key, value), value, strict=True):
        if not isinstance(item, dict):
            keys = ", ".join(_msgspec_types(field.item))
            return place, f"must be an object {{{keys}}}, not {format_value(item)}"
        try:
            msgspec.convert(_normalize(field.item, item, strict=strict, truncate=False), field.item, strict=strict)
        except msgspec.ValidationError as error:
            inner, fault = _find_fault(field.item, item, str(error), strict=strict)
            return f"{place}.{inner}", fault
    return None


def _find_text_fault(field: _FieldType, key: str, value: list[Any]) -> tuple[str, str] | None:
    """Return the first item of a list of strings that is not one; None if there is none."""
    wrong = (index for index, item in enumerate(value) if field.texts and not isinstance(item, str))
    index = next(wrong, None)
    return None if index is None else (f"{key}[{index}]", f"must be a string, not {format_value(value[index])}")


def _describe_field(kind: type[msgspec.Struct], key: str) -> str:
    """Return which values a field takes, in words: `an integer from 1 to 10`."""
    members = (one for one in _union_members(_msgspec_types(kind)[key]) if not isinstance(one, inspect.NoneType))
    return " or ".join(_describe_member(member) for member in members)


def _describe_member(option: inspect.Type) -> str:
    """Return which values a member of a union allows, in words: its own description, if it has one."""
    if isinstance(option, inspect.Metadata):
        text = (option.extra_json_schema or {}).get("description")
        return str(text) if text else _describe_member(option.type)
    if isinstance(option, inspect.LiteralType):
        return f"one of {quote_choices(option.values)}"
    return _NOUNS.get(type(option), "an object") + _describe_bounds(option)


def _describe_bounds(option: inspect.Type) -> str:
    if isinstance(option, inspect.IntType | inspect.FloatType) and option.ge is not None:
        return f" from {option.ge} to {option.le}"
    if isinstance(option, inspect.StrType) and option.max_length is not None:
        return f" of at most {option.max_length} characters"
    return ""
