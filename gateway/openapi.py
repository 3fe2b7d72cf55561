"""The description of the REST API, from the same types that read and write its JSON (OpenAPI 3.1)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from .dialects import DIALECTS, bound
from .dialects.openai_models import ModelList, ModelObject
from .sdapi import BASE, DESCRIBED

if TYPE_CHECKING:
    from .dialects.dialect import Dialect
    from .sdapi import Described

JSON, FORM = "application/json", "multipart/form-data"
_REFERENCE = "#/components/schemas/{name}"


def document(shared: str) -> dict[str, Any]:
    """Return the description as JSON values; `shared` names the dialect that has the shared paths."""
    paths = {path: {"post": _images(dialect)} for path, dialect in bound(shared).items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tintype", "version": _version(), "description": "Self-hosted image generation."},
        "paths": paths | _models(DIALECTS[shared]) | _files() | _web_ui(),
        "components": {"schemas": _schemas(), "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def _images(dialect: Dialect) -> dict[str, Any]:
    return {
        "summary": dialect.summary,
        "tags": [dialect.name],
        "requestBody": {"required": True, "content": _asked(dialect)},
        "responses": {
            "200": {"description": "The pictures", "content": _pictures(dialect)},
            "default": {"description": "What went wrong", "content": _content(dialect.error_type)},
        },
    }


def _asked(dialect: Dialect) -> dict[str, Any]:
    content = _content(dialect.request_type)
    return content | {FORM: content[JSON]} if dialect.forms else content


def _pictures(dialect: Dialect) -> dict[str, Any]:
    events: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}} if dialect.events else {}
    return _content(dialect.response_type) | events


def _models(dialect: Dialect) -> dict[str, Any]:
    failure = {"description": "What went wrong", "content": _content(dialect.error_type)}
    name = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/v1/models": {
            "get": {
                "summary": "List the models",
                "responses": {"200": {"description": "The models", "content": _content(ModelList)}, "default": failure},
            }
        },
        "/v1/models/{model}": {
            "get": {
                "summary": "Tell of one model",
                "parameters": [name],
                "responses": {"200": {"description": "It", "content": _content(ModelObject)}, "default": failure},
            }
        },
    }


def _files() -> dict[str, Any]:
    text = {"type": "string"}
    parameters = [
        {"name": "access", "in": "path", "required": True, "schema": text},
        {"name": "name", "in": "path", "required": True, "schema": text},
    ]
    responses = {"200": {"description": "The picture", "content": {"image/*": {}}}, "404": {"description": "Gone"}}
    return {
        "/files/{access}/{name}": {
            "get": {"summary": "Fetch a result", "parameters": parameters, "responses": responses}
        }
    }


def _web_ui() -> dict[str, Any]:
    return {f"{BASE}/{one.path}": {one.method: _of_web_ui(one)} for one in DESCRIBED}


def _of_web_ui(one: Described) -> dict[str, Any]:
    answered = {"200": {"description": "Done", "content": _content(one.answers)}}
    body = {"requestBody": {"required": True, "content": _content(one.asks)}} if one.asks else {}
    return {"summary": one.summary, "tags": ["sdapi"], **body, "responses": answered}


def _content(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return {JSON: {"schema": {"$ref": _REFERENCE.format(name=kind.__name__)}}}


def _schemas() -> dict[str, Any]:
    kinds: list[type[msgspec.Struct]] = [ModelList, ModelObject]
    kinds += [kind for one in DESCRIBED for kind in (one.asks, one.answers) if kind]
    for dialect in bound(next(iter(DIALECTS))).values():
        kinds += [dialect.request_type, dialect.response_type, dialect.error_type]
    return msgspec.json.schema_components(kinds, ref_template=_REFERENCE)[1]


def _version() -> str:
    try:
        return version("tintype")
    except PackageNotFoundError:
        return "0"
