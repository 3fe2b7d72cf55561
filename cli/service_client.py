"""A client of a running service, over gRPC; the service may have several replicas."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tintype.gateway.config import GatewayConfig
from tintype.gateway.upstream.channel import REFUSED, Route, call_metadata
from tintype.gateway.upstream.targets import look_up, parse_targets
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.limits import MAX_MESSAGE
from tintype.v1.reasons import DETAILS

from .errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from tintype.v1.image_service_pb2_grpc import ImageServiceAsyncStub

    from .settings.sources import Sources

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.min_reconnect_backoff_ms", 5_000),  # bounds the first attempt to connect as well
    ("grpc.enable_http_proxy", 0),  # http_proxy and similar variables do not apply to the service
)


HEALTH_TIMEOUT = 2.0  # seconds


class ServiceConnection(NamedTuple):
    """A stub, and the metadata of each call."""

    stub: ImageServiceAsyncStub
    metadata: tuple[tuple[str, str], ...]


class Replicas:
    """Connections to all replicas, by address."""

    def __init__(self, connections: dict[str, tuple[Route, grpc.aio.Channel]]) -> None:
        self._connections = connections

    async def call_each(self, call: Callable[[ServiceConnection], Awaitable[Any]]) -> dict[str, Any]:
        """Return the results of `call` by address; warn of replicas that failed, unless they lack the model.

        Raises UserError if all failed.
        """
        results = await asyncio.gather(
            *(call(_connection(*parts)) for parts in self._connections.values()), return_exceptions=True
        )
        found: dict[str, Any] = {}
        problems: list[str] = []
        missing: list[str] = []
        for (route, _), result in zip(self._connections.values(), results, strict=True):
            if isinstance(result, grpc.aio.AioRpcError):
                lacks_model = result.code() is grpc.StatusCode.NOT_FOUND
                (missing if lacks_model else problems).append(explain_error(result, route))
            elif isinstance(result, BaseException):
                raise result
            else:
                found[route.target] = result
        if not found:
            raise UserError([*problems, *missing][0])
        for problem in problems:
            sys.stderr.write(f"warning: {problem}\n")
        return found

    async def first_healthy(self) -> Route:
        """Return the route to the first replica that serves; to the first one if none does."""
        parts = list(self._connections.values())
        healthy = await asyncio.gather(*(_is_healthy(channel) for _, channel in parts)) if len(parts) > 1 else [True]
        return parts[healthy.index(True) if True in healthy else 0][0]

    def connection(self, route: Route) -> ServiceConnection:
        """Return the connection of a route."""
        return _connection(*self._connections[route.target])


@asynccontextmanager
async def connect_all(sources: Sources) -> AsyncIterator[Replicas]:
    """Connect to all replicas of the service that the settings name. Raises UserError."""
    config = sources.partial(GatewayConfig, "grpc", "tls_ca", "service_cert", "service_cert_key", "service_key")
    route = Route.from_config(config)
    async with AsyncExitStack() as stack:
        yield Replicas(
            {
                each.target: (each, await stack.enter_async_context(each.channel(OPTIONS)))
                for each in await _routes(route)
            }
        )


@asynccontextmanager
async def connect(sources: Sources) -> AsyncIterator[ServiceConnection]:
    """Connect to the service that the settings name, to the first of its replicas that serves.

    Raises:
        UserError: the service cannot be reached, or a call failed; then with the service's message.
    """
    async with connect_all(sources) as replicas:
        route = await replicas.first_healthy()
        try:
            yield replicas.connection(route)
        except grpc.aio.AioRpcError as error:
            raise UserError(explain_error(error, route)) from error


async def _routes(route: Route) -> list[Route]:
    """Return the routes to the addresses of a route. Raises UserError."""
    routes: dict[str, Route] = {}
    for target in parse_targets(route.target):
        if not target.host:
            routes[target.address] = route.at(target.address)
            continue
        try:
            found = await look_up(target.host, target.port)
        except (OSError, UnicodeError) as error:  # UnicodeError: it is not a name
            problem = getattr(error, "strerror", None) or error
            raise UserError(f"cannot look up {target.host}: {problem}") from error
        routes |= {address: route.at(address, target.address) for address in found}
    return list(routes.values())


def _connection(route: Route, channel: grpc.aio.Channel) -> ServiceConnection:
    return ServiceConnection(pb_grpc.ImageServiceStub(channel), call_metadata(route))


async def _is_healthy(channel: grpc.aio.Channel) -> bool:
    request = health_pb2.HealthCheckRequest()
    try:
        response = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=HEALTH_TIMEOUT)
    except grpc.aio.AioRpcError:
        return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def explain_error(error: grpc.aio.AioRpcError, route: Route) -> str:
    """Return one line about a failed call: the service's message, or why it could not be reached."""
    # The service sends this trailer with errors; proxies and other servers do not.
    from_service = any(key == DETAILS for key, _ in error.trailing_metadata() or ())
    if error.code() is grpc.StatusCode.UNAVAILABLE and not from_service:
        return f"cannot connect to the image service at {route.target}: {_connection_problem(error, route)}"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and not from_service:
        return f"the image service at {route.target} does not answer"
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return f"{error.details()}; set --service-key or TINTYPE_SERVICE_KEY"
    return error.details() or error.code().name


def _connection_problem(error: grpc.aio.AioRpcError, route: Route) -> str:
    reason = route.failure_reason(error)
    if reason == REFUSED:
        return f"{reason}; start one with `tintype up`, or name another with --grpc"
    return reason or error.details() or "no reason was given"
