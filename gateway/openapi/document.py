"""The description of the REST API (OpenAPI 3.1), from what each route says of itself, and its types."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from .operation import API, JSON, PATHS, Answer, Media, Operation
from .schemas import reference, schemas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from ..dialects import Dialect

    Speaks = Callable[[str], Dialect]

# What goes wrong, by status. A dialect may answer another status than is usual.
ERRORS = {
    400: "The request is at fault: no JSON, a value that can't be, no picture where one must be",
    401: "A key is needed, and there is none, or one that is not known",
    403: "The key may not do this",
    404: "There is no such model, or nothing there",
    408: "The body has not come in time",
    413: "The body is too large",
    415: "The body is of a type that is not read here",
    422: "The Idempotency-Key came before with another body",
    429: "Too many requests, or the queue is full",
    500: "A mistake of the server",
    501: "The image service does not have this",
    503: "The image service can't be reached, the store of results is out of order, or the server stops",
    504: "The picture was not done in time",
    507: "There is no space left for results",
}
HEADERS = {
    "x-request-id": "The request's id: the one that it came with, or a new one",
    "openai-processing-ms": "Milliseconds until the answer began",
    "x-tintype-ignored": "Fields of the request that had no effect",
    "x-tintype-model": "The model that was taken, where it is not the one that was asked for",
    "x-tintype-native-size": "WIDTHxHEIGHT that the model made, where the picture was resampled from it",
    "idempotent-replayed": "true where the answer is the one to an earlier request with this Idempotency-Key",
    "retry-after": "Seconds after which it is worth trying again",
    "retry-after-ms": "The same in milliseconds",
    "x-should-retry": "false where trying again is of no use; OpenAI's SDKs obey it",
    "www-authenticate": "How keys are sent",
    **{
        f"x-ratelimit-{what}-{of}": f"{text} of {of}, where there is one"
        for of in ("requests", "images")
        for what, text in (
            ("limit", "The limit"),
            ("remaining", "What is left of the limit"),
            ("reset", "Time to a full limit"),
        )
    },
    "etag": "Stands for these bytes; send it as If-None-Match",
    "location": "Where the bytes are",
}
ALWAYS = ("x-request-id", "openai-processing-ms")
# Headers of errors, by status.
FAILING: dict[int, tuple[str, ...]] = {
    401: ("www-authenticate",),
    429: ("retry-after", "retry-after-ms", "x-should-retry", *(name for name in HEADERS if "ratelimit" in name)),
    503: ("retry-after", "retry-after-ms", "x-should-retry"),
    **dict.fromkeys((500, 501, 504, 507), ("x-should-retry",)),
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this server"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as password, with any user name"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "The key alone"},
}
ABOUT = """Self-hosted image generation, in the JSON of several vendors.

Unknown keys are ignored: the header `x-tintype-ignored` names them. A field that is null counts as absent.
Every answer has an `x-request-id`. OPTIONS succeeds everywhere."""
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")


def document(handlers: Iterable[HTTPRouteHandler], speaks: Speaks, *, keys: bool) -> dict[str, Any]:
    """Return the description as JSON values.

    `speaks` names the dialect of a path, in which its errors are answered; `keys` tells whether keys are needed.
    """
    operations = list(_operations(handlers))
    paths: dict[str, dict[str, Any]] = {}
    for path, method, operation in operations:
        paths.setdefault(path, {})[method] = _operation(path, method, operation, _error(path, operation, speaks))
    kinds = {kind for path, _, one in operations for kind in _kinds(one, _error(path, one, speaks))}
    return {
        "openapi": "3.1.0",
        "info": {"title": "tintype", "version": _version(), "description": ABOUT},
        "paths": paths,
        "components": {"schemas": schemas(kinds), "securitySchemes": SECURITY, "headers": _headers()},
        "security": [{name: []} for name in SECURITY] if keys else [{}],
    }


def operations_of(handlers: Iterable[HTTPRouteHandler]) -> Iterator[tuple[str, str, Operation | None]]:
    """Yield path, method and description of each route, in order.

    The description is None where a handler has none.
    """
    for handler in handlers:
        operations = handler.opt.get(API)
        for path in handler.opt.get(PATHS) or sorted(handler.paths):
            for method in sorted(handler.http_methods):
                operation = operations[str(method)] if isinstance(operations, dict) else operations
                yield path, str(method).lower(), operation


def _operations(handlers: Iterable[HTTPRouteHandler]) -> Iterator[tuple[str, str, Operation]]:
    """Yield the described routes, in order, with paths as OpenAPI writes them."""
    for path, method, operation in operations_of(handlers):
        if operation is not None:
            yield _PARAMETER.sub(r"{\1}", path), method, operation


def _operation(path: str, method: str, operation: Operation, error: type[msgspec.Struct]) -> dict[str, Any]:
    failures = {
        status: Answer(ERRORS[status], {JSON: Media(error)}, FAILING.get(status, ())) for status in operation.errors
    }
    described: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method}{path}").strip("_"),
        "summary": operation.summary,
        "description": operation.text,
        "tags": [operation.tag] if operation.tag else None,
        "parameters": [*_in_path(path, operation), *_in("query", operation.query), *_in("header", operation.headers)],
        "requestBody": {"required": True, "content": _content(operation.request)} if operation.request else None,
        "responses": {str(status): _answer(one) for status, one in {**operation.answers, **failures}.items()},
        "security": [{}] if operation.open else None,
    }
    return {key: value for key, value in described.items() if value}


def _in_path(path: str, operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": operation.parameters.get(name, {"type": "string"})}
        for name in _PARAMETER.findall(path)
    ]


def _in(place: str, schemas: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "in": place, "schema": schema} for name, schema in schemas.items()]


def _answer(answer: Answer) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*ALWAYS, *answer.headers)}
    content = {"content": _content(answer.content)} if answer.content else {}
    return {"description": answer.text, "headers": headers, **content}


def _content(media: Mapping[str, Media]) -> dict[str, Any]:
    return {
        kind: {"schema": reference(one.kind), **({} if one.example is msgspec.UNSET else {"example": one.example})}
        for kind, one in media.items()
    }


def _error(path: str, operation: Operation, speaks: Speaks) -> type[msgspec.Struct]:
    return operation.error or speaks(path).error_type


def _kinds(operation: Operation, error: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    """Yield the types of an operation."""
    media = [
        *operation.request.values(),
        *(one for told in operation.answers.values() for one in told.content.values()),
    ]
    yield from (one.kind for one in media if isinstance(one.kind, type))
    if operation.errors:
        yield error


def _headers() -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in HEADERS.items()}


def _version() -> str:
    try:
        return version("tintype")
    except PackageNotFoundError:
        return "0"
