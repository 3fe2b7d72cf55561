"""The life of a gRPC server, independent of what it serves: start, ready, drain, stop.

Shutdown: health says NOT_SERVING while requests are still accepted, for `lame_duck` seconds (not after SIGINT); the
port closes; running requests finish within `grace` seconds. A second signal skips the wait.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.keys import Keys
from tintype.v1.limits import KEEPALIVE_OPTIONS, MESSAGE_OPTIONS, SERVICE
from tintype.v1.signals import on_stop_signal
from tintype.v1.tracing import Tracer, TracingUnavailable, open_tracer

from .metrics.observer import IGNORE
from .reloading import RunningConfig
from .rpc.access import HEALTH, Guard
from .rpc.health import Health
from .rpc.listen import ServeError, listen
from .rpc.servicer import ImageServicer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from tintype.v1.signals import Reloading

    from .config import ServiceConfig
    from .metrics.observer import Observer
    from .rpc.servicer import ServedApi

log = logging.getLogger(__name__)

FOREVER = 1e6  # seconds
OPTIONS = (
    *MESSAGE_OPTIONS,
    *KEEPALIVE_OPTIONS,
    ("grpc.http2.bdp_probe", 0),  # otherwise a stream may buffer megabytes of a message that is not read yet
    ("grpc.so_reuseport", 0),  # a second server on the port is an error; otherwise calls would go to either
    # Clients may send keepalive pings every 5 s, also without calls; gRPC's default is 5 minutes, and a client that
    # pings more often loses its connection ("too_many_pings") and the calls on it. 4 s leaves room for jitter.
    ("grpc.http2.min_ping_interval_without_data_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
AGE_GRACE = 3600.0  # seconds for calls on a connection that has reached its age; longer than any call of a gateway


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens at `address`. All of it belongs to one event loop.

    `ready` waits until requests can be served; it gets the address, and raises ServeError if they never can. `update`
    brings a new configuration to what is served, and raises ServeError if it is invalid.
    """

    address: str
    grpc: grpc.aio.Server
    health: Health
    servicer: ImageServicer
    keys: Keys
    ready: Callable[[str], Awaitable[None]]
    update: Callable[[ServiceConfig], Awaitable[None]]

    async def drain(self, grace: float, lame_duck: float = 0.0) -> None:
        """Stop accepting requests, and wait for the running ones, which are cancelled after `grace` seconds.

        Health says NOT_SERVING first; the port closes `lame_duck` seconds later.
        """
        await self.health.enter_graceful_shutdown()
        await asyncio.sleep(lame_duck)
        # The port closes now. gRPC's own grace must not expire during another stop(): that call frees the server, and
        # the first one would access it again, which kills the process (grpcio 1.85).
        stopped = asyncio.ensure_future(self.grpc.stop(FOREVER))
        with suppress(TimeoutError):
            await asyncio.wait_for(self.servicer.idle.wait(), grace)
        if not stopped.done():
            await self.grpc.stop(None)  # also ends Watch calls of health, which never end by themselves
        await stopped

    async def wait_until_ready(self) -> None:
        """Wait until requests can be served. Raises ServeError if they never can."""
        await self.ready(self.address)


def bind(
    config: ServiceConfig,
    api: ServedApi,
    *,
    ready: Callable[[str], Awaitable[None]],
    update: Callable[[ServiceConfig], Awaitable[None]],
    observer: Observer = IGNORE,
    tracer: Tracer | None = None,
) -> Server:
    """Return a server of `api` that is bound to its address and not started.

    `observer` learns of its calls, and `tracer` makes their spans.

    Raises:
        ServeError: the address is invalid or in use, or certificates are missing or don't match.
        KeysError: the key file is unusable, or other machines could connect without a key.
    """
    keys = Keys(config.key_file, optional=config.keys is None, api_key=config.api_key, companion=config.companion_key)
    server = grpc.aio.server(options=_options(config), interceptors=(Guard(keys, observer),))
    servicer, health = ImageServicer(api, observer, tracer), Health(("", SERVICE))
    pb_grpc.add_ImageServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), server)
    return Server(listen(server, config), server, health, servicer, keys, ready, update)


def _options(config: ServiceConfig) -> tuple[tuple[str, int], ...]:
    """Return the options of the server."""
    if not config.connection_age:
        return OPTIONS
    age = ("grpc.max_connection_age_ms", round(config.connection_age * 1000))
    return (*OPTIONS, age, ("grpc.max_connection_age_grace_ms", round(AGE_GRACE * 1000)))


@contextmanager
def tracing(config: ServiceConfig) -> Iterator[Tracer]:
    """Yield the tracer of the service; leaving the block sends its last spans. Raises ServeError."""
    try:
        tracer = open_tracer("tintype-service", config.otel)
    except TracingUnavailable as error:
        raise ServeError(str(error)) from error
    with closing(tracer):
        yield tracer


async def serve_until_stopped(
    start: AbstractAsyncContextManager[Server],
    config: ServiceConfig,
    *,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    reloading: Reloading[ServiceConfig] | None = None,
) -> None:
    """Enter `start`, serve until a signal, then drain. With `stop`, serve until it is set, and handle no signals.

    `on_listening` is called with the address once the port is open, and `on_ready` once the server is ready.
    `reloading` brings new configurations. Raises ServeError.
    """
    stopping = _StopRequest(stop or asyncio.Event())
    async with start as server, AsyncExitStack() as stack:
        if on_listening:
            on_listening(server.address)
        running = RunningConfig(config, server.keys, server.update)
        with nullcontext() if stop else on_stop_signal(stopping.caught, reloading.request if reloading else None):
            await _wait_for_first(server.wait_until_ready(), stopping.requested.wait())
            if on_ready and not stopping.requested.is_set():
                on_ready(server.address)
            if reloading:
                follow = asyncio.create_task(reloading.follow(running.apply))
                stack.callback(follow.cancel)
            await stopping.requested.wait()
            config = running.config
            lame_duck = config.lame_duck if stopping.lame_duck_applies else 0.0
            if lame_duck or not server.servicer.idle.is_set():
                log.info("draining: the port closes in %g s, running requests have %g s", lame_duck, config.grace)
            await _wait_for_first(server.drain(config.grace, lame_duck), stopping.immediately.wait())


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a new event loop, on uvloop if it is installed."""
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


class _StopRequest:
    """A request to shut down: `requested` by the first signal, `immediately` by the next one.

    `lame_duck_applies` is True after a signal other than SIGINT.
    """

    def __init__(self, requested: asyncio.Event) -> None:
        self.requested = requested
        self.immediately = asyncio.Event()
        self.lame_duck_applies = False

    def caught(self, number: signal.Signals) -> None:
        """Handle a signal. SIGINT skips the lame-duck time: after Ctrl-C no load balancer needs it."""
        self.lame_duck_applies = number != signal.SIGINT
        (self.immediately if self.requested.is_set() else self.requested).set()


async def _wait_for_first(*awaitables: Coroutine[Any, Any, object]) -> None:
    """Wait for the first to finish, and cancel the others. Raises its exception."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
