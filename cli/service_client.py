"""A client of a running service, over gRPC."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc

from tintype.gateway.config import GatewayConfig
from tintype.gateway.upstream.channel import REFUSED, Route
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.reasons import DETAILS
from tintype.v1.transport import MAX_MESSAGE

from .errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tintype.v1.image_service_pb2_grpc import ImageServiceAsyncStub

    from .settings.sources import Sources

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # bounds the first attempt to connect as well
    ("grpc.enable_http_proxy", 0),  # http_proxy and similar variables do not apply to the service
)


class ServiceConnection(NamedTuple):
    """A stub, and the metadata of each call."""

    stub: ImageServiceAsyncStub
    metadata: tuple[tuple[str, str], ...]


@asynccontextmanager
async def connect(sources: Sources) -> AsyncIterator[ServiceConnection]:
    """Connect to the service that the settings name.

    Raises:
        UserError: the service cannot be reached, or a call failed; then with the service's message.
    """
    config = sources.partial(GatewayConfig, "grpc", "tls_ca", "service_cert", "service_cert_key", "service_key")
    route = Route.from_config(config)
    async with route.channel(OPTIONS) as channel:
        try:
            yield ServiceConnection(pb_grpc.ImageServiceStub(channel), route.metadata)
        except grpc.aio.AioRpcError as error:
            raise UserError(explain_error(error, route)) from error


def explain_error(error: grpc.aio.AioRpcError, route: Route) -> str:
    """Return one line about a failed call: the service's message, or why it could not be reached."""
    # The service sends this trailer with errors; proxies and other servers do not.
    from_service = any(key == DETAILS for key, _ in error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not from_service:
        return f"cannot connect to the image service at {route.target}: {_connection_problem(error, route)}"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"{error.details()}; set --service-key or TINTYPE_SERVICE_KEY"
    return error.details() or error.code().name


def _connection_problem(error: grpc.aio.AioRpcError, route: Route) -> str:
    reason = route.failure_reason(error)
    if reason == REFUSED:
        return f"{reason}; start one with `tintype up`, or name another with --grpc"
    return reason or error.details() or "no reason was given"
