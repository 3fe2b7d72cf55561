"""The interface of a dialect: one vendor's JSON as two inverse pure functions and an error renderer, without I/O.

    parse:   JSON object -> Call               the request to the service, and what the response depends on
    render:  the service's response, Call, … -> JSON
    error:   GatewayError -> Failure           status, headers, JSON
    events:  previews and images one by one -> JSON, if the vendor streams

`dialects.DIALECTS` is the table of them; a new vendor is one file and one row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import msgspec

    from tintype.v1 import image_service_pb2 as pb

    from ..errors import GatewayError

# OpenAI's SDKs retry every 5xx and 429 twice, which would make each image three times. A retry after one of these
# statuses helps only if the error says when.
NO_RETRY = {429, 500, 501, 503, 504, 507}


ImageSource: TypeAlias = str | bytes
"""An image as a client sent it: a file, base64, a `data:` URL, or a URL."""


class ClientImage(NamedTuple):
    """An image, and the client's name for it, such as `image[1]`."""

    key: str
    source: ImageSource


class Failure(NamedTuple):
    """An error response."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Call:
    """One parsed request.

    Attributes:
        request: the request to the service.
        links: True returns images as URLs, False as base64, None as configured.
        names: keys that the client used, by field of the contract; other fields have the same name in both.
        ignored: unknown keys of the request.
        overridden: known keys that have no effect: other keys of the request override them, or the model has no use
            for them.
        optional: fields of the contract that are dropped if the model does not have them.
        implicit: those of `optional` that are the vendor's default; dropping them is not reported.
        stream: whether events are returned instead of one response.
        previews: number of previews of each image in a stream.
        echo: values that the response repeats.
        images: images to edit or to start from, the first one first; the model decides which fields they become.
        starts: whether the request asks to start from the first image, if the model can.
        start_keys: keys of the request that have an effect only on an image to start from.
        uploads: other images by their place in the contract: `mask`, `controls[0].image`.
        alpha_strength: strength if the image has no mask, and its transparent parts are repainted instead; None if
            transparency is not a mask.
    """

    request: pb.GenerateImagesRequest
    links: bool | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    overridden: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    implicit: tuple[str, ...] = ()
    stream: bool = False
    previews: int = 0
    echo: Mapping[str, str] = field(default_factory=dict)
    images: tuple[ClientImage, ...] = ()
    starts: bool = False
    start_keys: tuple[str, ...] = ()
    uploads: Mapping[str, ImageSource] = field(default_factory=dict)
    alpha_strength: float | None = None

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys that had no effect, known or not."""
        return self.ignored + self.overridden


@dataclass(frozen=True, slots=True)
class Events:
    """Renderers of a vendor's events; the `type` of an event is its name. Times are in Unix seconds."""

    partial: Callable[[pb.Preview, Call, int], Any]
    completed: Callable[[pb.Image, pb.Usage, Call, int], Any]


@dataclass(frozen=True, slots=True)
class Example:
    """A vendor's section of the documentation page.

    `title` is the vendor's name, `body` a valid request. `program` is a Python program that sends it; `{base}` stands
    for the gateway's URL.
    """

    title: str
    about: str
    body: Mapping[str, Any] = field(hash=False)  # dialects are keys of dicts
    program: str


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor: its paths, its functions, and the types of its JSON for the API's description.

    With `forms`, `parse` also gets the fields of a form. One vendor may have several dialects of the same name.
    """

    name: str
    paths: tuple[str, ...]
    parse: Callable[[Mapping[str, Any]], Call]
    render: Callable[[pb.GenerateImagesResponse, Call, int, Sequence[str]], Any]
    error: Callable[[GatewayError], Failure]
    request_type: type[msgspec.Struct]
    response_type: type[msgspec.Struct]
    error_type: type[msgspec.Struct]
    example: Example
    events: Events | None = None
    summary: str = "Make images"
    forms: bool = False


def retry_headers(exc: GatewayError) -> dict[str, str]:
    """Return the headers that say when to retry, in seconds and milliseconds, or that a retry does not help.

    OpenAI's SDKs obey them; other clients may.
    """
    if exc.retry_after is not None:
        seconds = max(1, math.ceil(exc.retry_after))
        return {"retry-after": str(seconds), "retry-after-ms": str(math.ceil(exc.retry_after * 1000))}
    return {"x-should-retry": "false"} if exc.status in NO_RETRY else {}
