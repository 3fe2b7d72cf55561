"""Build JSON schemas of the API's types, with the text, default and examples of each field's annotation."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.inspect import CollectionType, Metadata, StructType, UnionType, multi_type_info

from tintype.v1.limits import MAX_REFERENCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from msgspec.inspect import Type

    from .operation import Schema

_REFERENCE = "#/components/schemas/{name}"


def reference(kind: Schema) -> dict[str, Any]:
    """Return the schema of a body: a reference to the schema of a type, or the schema itself."""
    return kind if isinstance(kind, dict) else {"$ref": _REFERENCE.format(name=kind.__name__)}


def struct_schemas(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """Return the schemas of types, and of the types within them, by name."""
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    found = msgspec.json.schema_components(ordered, ref_template=_REFERENCE)[1]
    structs = {struct.cls.__name__: struct for info in multi_type_info(ordered) for struct in _nested_structs(info)}
    return {name: _complete_schema(schema, structs[name]) for name, schema in sorted(found.items())}


def form_schema(kind: type[msgspec.Struct], files: Iterable[str]) -> dict[str, Any]:
    """Return the schema of a form with the fields of a type, some of which are files."""
    schema = struct_schemas([kind])[kind.__name__]
    upload = {"type": "string", "format": "binary"}
    parts = {name: {"description": schema["properties"][name]["description"], **upload} for name in files}
    if "images" in schema["properties"]:
        several = {"type": "array", "items": upload, "maxItems": MAX_REFERENCES}
        parts["image[]"] = {"description": schema["properties"]["images"]["description"], **several}
    required = [*schema.get("required", ()), "image"]
    return {"type": "object", "properties": schema["properties"] | parts, "required": sorted(set(required))}


def _nested_structs(info: Type) -> Iterator[StructType]:
    """Yield the structs within a type, itself included."""
    inner: Iterable[Type] = ()
    if isinstance(info, StructType):
        yield info
        inner = (field.type for field in info.fields)
    elif isinstance(info, UnionType):
        inner = info.types
    elif isinstance(info, Metadata):
        inner = (info.type,)
    elif isinstance(info, CollectionType):
        inner = (info.item_type,)
    for one in inner:
        yield from _nested_structs(one)


def _complete_schema(schema: dict[str, Any], struct: StructType) -> dict[str, Any]:
    """Return the schema of a struct, completed from its annotations.

    msgspec replaces a field's own `default` and `anyOf` by those of its type. The `schema_extra` of a class holds rules
    about several fields, such as that one of two is required.
    """
    schema["description"] = inspect.cleandoc(schema.get("description", ""))
    for field in struct.fields:
        schema["properties"][field.encode_name] = _complete_field(schema["properties"][field.encode_name], field.type)
    return schema | getattr(struct.cls, "schema_extra", {})


def _complete_field(schema: dict[str, Any], info: Type) -> dict[str, Any]:
    typed = {key: value for key, value in schema.items() if key != "default" or value is not None}
    annotated = (info.extra_json_schema or {}) if isinstance(info, Metadata) else {}
    return typed | annotated
