"""The description of one route, written next to its handler; `document` collects all of them.

A handler has its description in its options: `@get("/livez", opt=handler_options(Operation(…)))`. A test fails for a
route without one. A body is described by a `msgspec` struct, from which its schema follows, or by a JSON schema.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API = "api"  # key of the description in a handler's options
PATHS = "paths"  # key of the order of its paths
JSON, FORM, EVENTS = "application/json", "multipart/form-data", "text/event-stream"
TEXT: dict[str, Any] = {"type": "string"}

Schema = type[msgspec.Struct] | dict[str, Any]


class Media(NamedTuple):
    """The type or JSON schema of a body, and an example."""

    kind: Schema
    example: Any = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """The response of one status: its meaning, its bodies by content type, and the names of its headers."""

    text: str
    content: Mapping[str, Media] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route and method.

    Attributes:
        summary: what it does, in the imperative.
        tag: group in the documentation.
        text: further description.
        request: accepted bodies, by content type.
        headers: schemas of the request headers that it reads, by name.
        query: schemas of its query parameters, by name.
        parameters: schemas of its path parameters, by name.
        responses: responses by status.
        errors: statuses whose body is the error of the path's dialect, or `error`.
        error: type of errors, for a route with its own.
        open: whether it needs no key.
    """

    summary: str
    tag: str = ""
    text: str = ""
    request: Mapping[str, Media] = field(default_factory=dict)
    headers: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    responses: Mapping[int, ResponseDoc] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    error: type[msgspec.Struct] | None = None
    open: bool = False


def handler_options(operation: Operation | Mapping[str, Operation], paths: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options that describe a handler: one operation for all methods, or a mapping by method.

    A handler of several `paths` lists them in the order of the document, because Litestar keeps them in a set.
    """
    return {API: operation, PATHS: paths}
