"""JSON schemas of the API's types, with what each field means and is by default, from the table in `dialects.words`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from .. import sdapi_words
from ..dialects import words
from ..dialects.words import DEFAULTS, REQUIRED, SHAPES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .operation import Kind

MEANINGS = words.MEANINGS | sdapi_words.MEANINGS
_REFERENCE = "#/components/schemas/{name}"


def reference(kind: Kind) -> dict[str, Any]:
    """Return the schema of a body: a reference to that of a type, or the schema itself."""
    return kind if isinstance(kind, dict) else {"$ref": _REFERENCE.format(name=kind.__name__)}


def schemas(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """Return the schemas of types, and of those within them, by name."""
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    found = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)[1]
    return {name: _told(name, schema) for name, schema in sorted(found.items())}


def form(kind: type[msgspec.Struct], files: Iterable[str]) -> dict[str, Any]:
    """Return the schema of a form with the fields of a type, of which some are files."""
    schema = schemas([kind])[kind.__name__]
    upload = {"type": "string", "format": "binary"}
    parts = {name: {"description": schema["properties"][name]["description"], **upload} for name in files}
    required = [*schema.get("required", ()), "image"]
    return {"type": "object", "properties": schema["properties"] | parts, "required": sorted(set(required))}


def _told(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a type's schema in which each field says what it means, and what it is where it is absent."""
    schema["description"] = inspect.cleandoc(schema.get("description", ""))
    schema["properties"] = {key: _field(f"{name}.{key}", key, one) for key, one in schema["properties"].items()}
    return schema | REQUIRED.get(name, {})


def _field(full: str, key: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a field's schema; what the table says of the field of a type goes before what it says of the name."""
    own = {key: value for key, value in schema.items() if key != "default" or value is not None}
    told = {"description": MEANINGS.get(full) or MEANINGS.get(key) or _within(schema, "description")}
    examples = _within(schema, "examples")
    default = DEFAULTS.get(full, DEFAULTS.get(key))
    usual = {} if default is None or "default" in own else {"default": default}
    return (
        own
        | {key: value for key, value in told.items() if value}
        | ({"examples": examples} if examples else {})
        | usual
        | SHAPES.get(full, {})
    )


def _within(schema: dict[str, Any], key: str) -> Any:
    """Return what a schema, or the first of its choices that does, says."""
    choices = [schema, *schema.get("anyOf", ())]
    return next((one[key] for one in choices if key in one), None)
