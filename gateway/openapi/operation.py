"""How a route is described where its code stands; `openapi` puts all of it into one document.

A handler carries its description in its options: `@get("/livez", opt=described(Operation(…)))`. A route without one
fails a test. Types are `msgspec` structs, whose schemas follow from them, or JSON schemas as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API = "api"  # the key of a handler's options
PATHS = "paths"  # the key of the order of its paths
JSON, FORM, EVENTS = "application/json", "multipart/form-data", "text/event-stream"
TEXT: dict[str, Any] = {"type": "string"}

Kind = type[msgspec.Struct] | dict[str, Any]


class Media(NamedTuple):
    """What a body is: a type or a JSON schema, and an example of it."""

    kind: Kind
    example: Any = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class Answer:
    """One status: when it comes, its bodies by content type, the names of its headers."""

    text: str
    content: Mapping[str, Media] = field(default_factory=dict)
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route and method.

    `request` are the bodies that are read, by content type; `headers` those that are, by name with their schema, and
    `query` likewise; `parameters` the schemas of what stands in the path. `answers` are by status. `errors` are
    statuses whose body is the error of the path's dialect, or `error` where the route has a shape of its own. `open`
    needs no key.
    """

    summary: str
    tag: str = ""
    text: str = ""
    request: Mapping[str, Media] = field(default_factory=dict)
    headers: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    answers: Mapping[int, Answer] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    error: type[msgspec.Struct] | None = None
    open: bool = False


def described(operation: Operation | Mapping[str, Operation], paths: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options of a handler with the description `operation`.

    `operation` is for all of its methods, or a mapping by method. A handler of several `paths` lists them in the order
    of the document, since Litestar keeps them in a set.
    """
    return {API: operation, PATHS: paths}
