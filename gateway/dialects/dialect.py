"""What a dialect is: one vendor's JSON as two inverse pure functions and an error renderer, with no I/O.

    parse:   JSON object -> Call               the request to the service, and what its answer needs to know
    render:  the service's answer, Call, …  -> JSON
    error:   GatewayError -> Failure           status, headers, JSON
    events:  previews and pictures one by one -> JSON, where the vendor streams

`dialects.DIALECTS` is the table of them; a new vendor is a file and a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import msgspec

    from tintype.v1 import image_service_pb2 as pb

    from ..errors import GatewayError


class Failure(NamedTuple):
    """An error as it is answered."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read.

    `request` is what is sent; what the service can't grant leaves it. `links` says that pictures are answered as URLs,
    False as base64, None as the configuration says. `names` maps fields of the contract to the keys that this client
    used for them; a field that is not in it has its own name. `ignored` are the keys that nobody knows, `idle` those
    that others of the same request overrule. `wishes` are fields of the contract that a vendor takes from everybody:
    where the model has no such thing, it is asked without; those in `unasked` are the vendor's default, and nobody is
    told. `stream` asks for events instead of one answer, with so many `previews` of each picture. `echo` are values
    that the answer repeats. `pictures` are `image` and `mask` as they were given, by field of the contract: a file,
    base64, or a URL. With `alpha_strength`, an image without a mask is its own mask where it is transparent, and then
    that is the strength; None if transparency is no mask.
    """

    request: pb.GenerateImagesRequest
    links: bool | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()
    unasked: tuple[str, ...] = ()
    stream: bool = False
    previews: int = 0
    echo: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str | bytes] = field(default_factory=dict)
    alpha_strength: float | None = None

    @property
    def unused(self) -> tuple[str, ...]:
        """The keys that had no effect, known or not."""
        return self.ignored + self.idle


@dataclass(frozen=True, slots=True)
class Events:
    """How a vendor streams; what is returned has the event's name as `type`. Times are in Unix seconds."""

    partial: Callable[[pb.Preview, Call, int], Any]
    completed: Callable[[pb.Image, pb.Usage, Call, int], Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One vendor: where it is served, its functions, and the types of its JSON for the API's description.

    With `forms`, what it parses may come as a form, too. One vendor may have several of these under one name.
    """

    name: str
    paths: tuple[str, ...]
    parse: Callable[[Mapping[str, Any]], Call]
    render: Callable[[pb.GenerateImagesResponse, Call, int, Sequence[str]], Any]
    error: Callable[[GatewayError], Failure]
    request_type: type[msgspec.Struct]
    response_type: type[msgspec.Struct]
    error_type: type[msgspec.Struct]
    events: Events | None = None
    summary: str = "Make images"
    forms: bool = False
