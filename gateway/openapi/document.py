"""Build the OpenAPI 3.1 document of the REST API from each route's description and the types of its JSON."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from tintype.v1.rates import COUNTED, header_names

from .operation import API, JSON, PATHS, Media, Operation, ResponseDoc
from .schemas import reference, struct_schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from ..dialects import Dialect

    DialectOf = Callable[[str], Dialect]

# Errors by status. A dialect may use other statuses for some errors.
ERRORS = {
    400: "The request is invalid: not JSON, an invalid value, or an image is missing",
    401: "A key is required, and it is missing or unknown",
    403: "The key does not permit this",
    404: "The model or the path does not exist",
    408: "The body did not arrive in time",
    409: "The job was cancelled",
    413: "The body is too large",
    415: "The body is of a type that is not supported",
    422: "The Idempotency-Key was used before with another body",
    429: "Too many requests, or the queue is full",
    500: "Internal error of the server",
    501: "The image service does not support this",
    503: "The image service or the store of results is unavailable, or the server is shutting down",
    504: "The image was not finished in time",
    507: "The store has no space left for results",
}
HEADERS = {
    "x-request-id": "The id of the request: the one that the client sent, or a new one",
    "openai-processing-ms": "Milliseconds until the response began",
    "x-tintype-ignored": "Fields of the request that had no effect",
    "x-tintype-model": "The model that was used, if it is not the one in the request",
    "x-tintype-native-size": "WIDTHxHEIGHT that the model made, if the image was resampled from it",
    "idempotent-replayed": "true if the response is that to an earlier request with this Idempotency-Key",
    "retry-after": "Seconds to wait before a retry",
    "retry-after-ms": "Milliseconds to wait before a retry",
    "x-should-retry": "false if a retry does not help; OpenAI's SDKs obey it",
    "www-authenticate": "How to send keys",
    **{
        name: f"{text}, if {what} are limited"
        for what in COUNTED
        for name, text in zip(
            header_names(what),
            (f"Maximum {what} per minute", f"{what.capitalize()} that are left", "Time until all are available again"),
            strict=True,
        )
    },
    "etag": "Identifies these bytes; send it as If-None-Match",
    "location": "URL of the bytes, or of the job",
    "preference-applied": "The preferences of the header Prefer that were applied",
}
ALWAYS = ("x-request-id", "openai-processing-ms")
# Headers of errors, by status.
ERROR_HEADERS: dict[int, tuple[str, ...]] = {
    401: ("www-authenticate",),
    429: ("retry-after", "retry-after-ms", "x-should-retry", *(name for name in HEADERS if "ratelimit" in name)),
    503: ("retry-after", "retry-after-ms", "x-should-retry"),
    **dict.fromkeys((500, 501, 504, 507), ("x-should-retry",)),
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this server"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as password, with any user name"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "The key by itself"},
}
ABOUT = """Self-hosted image generation, in the JSON of several vendors.

Unknown keys are ignored: the header `x-tintype-ignored` names them. A field that is null counts as absent.
Every response has an `x-request-id`. OPTIONS succeeds on every path."""
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


def document(handlers: Iterable[HTTPRouteHandler], dialect_of: DialectOf, *, keys: bool) -> dict[str, Any]:
    """Return the document as JSON values.

    `dialect_of` returns the dialect of a path, which determines its errors. `keys` says whether keys are required.
    """
    operations = list(_described_operations(handlers))
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations:
        paths.setdefault(path, {})[method] = _operation_object(
            path, method, operation, _error_type(path, operation, dialect_of)
        )
    types = {kind for path, _, one in operations for kind in _body_types(one, _error_type(path, one, dialect_of))}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tintype", "version": _version(), "description": ABOUT},
        "paths": paths,
        "components": {"schemas": struct_schemas(types), "securitySchemes": SECURITY, "headers": _header_objects()},
        "security": [{name: []} for name in SECURITY] if keys else [{}],
    }


def _list_operations(handlers: Iterable[HTTPRouteHandler]) -> Iterator[tuple[str, str, Operation | None]]:
    """Yield path, method and description of each route, in order; the description is None if a handler has none."""
    for handler in handlers:
        operations = handler.opt.get(API)
        for path in handler.opt.get(PATHS) or sorted(handler.paths):
            for method in sorted(handler.http_methods):
                operation = operations[str(method)] if isinstance(operations, dict) else operations
                yield path, str(method).lower(), operation


def _described_operations(handlers: Iterable[HTTPRouteHandler]) -> Iterator[tuple[str, str, Operation]]:
    """Yield the routes that have a description, in order, with paths in OpenAPI's notation."""
    for path, method, operation in _list_operations(handlers):
        if operation is not None:
            yield _PARAMETER.sub(r"{\1}", path), method, operation


def _operation_object(path: str, method: str, operation: Operation, error: type[msgspec.Struct]) -> dict[str, Any]:
    failures = {
        status: ResponseDoc(ERRORS[status], {JSON: Media(error)}, ERROR_HEADERS.get(status, ()))
        for status in operation.errors
    }
    fields: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_"),
        "summary": operation.summary,
        "description": operation.text,
        "tags": [operation.tag] if operation.tag else None,
        "parameters": [
            *_path_parameters(path, operation),
            *_parameters("query", operation.query),
            *_parameters("header", operation.headers),
        ],
        "requestBody": {"required": True, "content": _content_objects(operation.request)}
        if operation.request
        else None,
        "responses": {
            str(status): _response_object(one) for status, one in {**operation.responses, **failures}.items()
        },
        "security": [{}] if operation.open else None,
    }
    return {key: value for key, value in fields.items() if value}


def _path_parameters(path: str, operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": operation.parameters.get(name, {"type": "string"})}
        for name in _PARAMETER.findall(path)
    ]


def _parameters(place: str, schemas: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "in": place, "schema": schema} for name, schema in schemas.items()]


def _response_object(response: ResponseDoc) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*ALWAYS, *response.headers)}
    content = {"content": _content_objects(response.content)} if response.content else {}
    return {"description": response.text, "headers": headers, **content}


def _content_objects(media: Mapping[str, Media]) -> dict[str, Any]:
    return {
        kind: {"schema": reference(one.kind), **({} if one.example is msgspec.UNSET else {"example": one.example})}
        for kind, one in media.items()
    }


def _error_type(path: str, operation: Operation, dialect_of: DialectOf) -> type[msgspec.Struct]:
    return operation.error or dialect_of(path).error_type


def _body_types(operation: Operation, error: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """Yield the types of the bodies of an operation."""
    media = [
        *operation.request.values(),
        *(one for response in operation.responses.values() for one in response.content.values()),
    ]
    yield from (one.kind for one in media if isinstance(one.kind, type))
    if operation.errors:
        yield error


def _header_objects() -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}


def _version() -> str:
    try:
        return version("tintype")
    except PackageNotFoundError:
        return "0"
