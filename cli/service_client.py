"""A running service, over gRPC."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from tintype.gateway.upstream.channel import REFUSED, Route
from tintype.v1 import image_service_pb2_grpc as pb_grpc

from .errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .settings.sources import Sources

OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 2**20),  # bytes, as the service sends them
    ("grpc.min_reconnect_backoff_ms", 5_000),  # bounds the first attempt to connect, too
    ("grpc.enable_http_proxy", 0),  # a service of one's own is not behind the proxy to the world
)
DETAILS = "grpc-status-details-bin"  # trailer with which a service of ours says more; infrastructure has none


class Service(NamedTuple):
    """A stub, and the metadata of each call."""

    stub: Any
    metadata: tuple[tuple[str, str], ...]


@asynccontextmanager
async def connect(sources: Sources) -> AsyncIterator[Service]:
    """Connect to the service that the settings name.

    Raises UserError if it can't be reached, or with the service's message.
    """
    route = _route(sources)
    async with route.channel(OPTIONS) as channel:
        try:
            yield Service(pb_grpc.ImageServiceStub(channel), route.metadata)
        except grpc.aio.AioRpcError as error:
            raise UserError(explain(error, route)) from error


def _route(sources: Sources) -> Route:
    names = ("grpc", "tls_ca", "service_cert", "service_cert_key", "service_key")
    return Route(*(sources.value("gateway", name) for name in names))


def explain(error: grpc.aio.AioRpcError, route: Route) -> str:
    """Return one line for a call that failed.

    It is the service's message, or the reason why the service could not be reached.
    """
    ours = any(key == DETAILS for key, _ in error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not ours:
        return f"cannot connect to the image service at {route.target}: {_why(error, route)}"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"{error.details()}; here: --service-key or TINTYPE_SERVICE_KEY"
    return error.details() or error.code().name


def _why(error: grpc.aio.AioRpcError, route: Route) -> str:
    reason = route.trouble(error)
    if reason == REFUSED:
        return f"{reason}; `tintype up` starts one, --grpc names another"
    return reason or error.details() or "no reason was given"
