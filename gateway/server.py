"""The gateway's process: socket, event loop, shutdown.

SIGTERM stops it in three steps. For `lame_duck` seconds `/readyz` answers 503 while requests are still
accepted; then the port closes; then running requests have `grace` seconds to finish. SIGINT skips the first step. A
second signal stops it immediately. SIGHUP makes it read its settings again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from tintype.v1.certificates import FileWatch
from tintype.v1.signals import on_stop_signal
from tintype.v1.threads import Threads
from tintype.v1.tracing import TracingUnavailable, open_tracer

from .access.model_names import ModelNames
from .app import create_app
from .errors import StartError
from .http.connections import connection_class, connection_limit
from .http.process import raise_open_file_limit, return_large_blocks
from .http.tls import server_tls, with_tls
from .http.trusted_proxies import trust_proxies
from .http.uvicorn_protocol import Server, shutdown_seconds
from .jobs.setup import open_jobs
from .reloading import RunningConfig
from .results.stores import open_store
from .upstream.channel import Route
from .upstream.client import ServiceClient
from .upstream.readiness import Readiness
from .usage.log import open_usage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from litestar.types import ASGIApp

    from tintype.v1.signals import Reloading
    from tintype.v1.tracing import Tracer

    from .config import GatewayConfig
    from .context import Gateway
    from .http.tls import ServerTls

log = logging.getLogger(__name__)

BACKLOG = 2048  # connections that wait to be accepted
WORKERS = min(32, (os.cpu_count() or 1) + 4)  # threads for image work, asyncio's own default


def run(
    config: GatewayConfig,
    *,
    ready: Callable[[str], None] | None = None,
    reloading: Reloading[GatewayConfig] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the gateway's URL once it accepts requests.

    `reloading` brings new configurations. Raises StartError, whose message is one line, if it can't start.
    """
    raise_open_file_limit()
    return_large_blocks()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        # asyncio would join its own executor at the end, including stuck threads.
        runner.get_loop().set_default_executor(Threads("tintype-work", WORKERS))
        runner.run(serve(config, ready=ready, reloading=reloading))


async def serve(
    config: GatewayConfig,
    *,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    reloading: Reloading[GatewayConfig] | None = None,
) -> None:
    """Serve in the running loop until `stop` is set; without `stop`, until SIGINT or SIGTERM.

    `reloading` brings new configurations. Raises StartError.
    """
    config.check_access()
    tls, route = server_tls(config), Route.from_config(config)
    upstream = FileWatch(route.certificates, route.check_certificates)  # from before the files are read
    with contextlib.closing(listen(config.rest)) as listener, _tracing(config) as tracer:
        async with (
            open_store(config) as store,
            open_usage(config) as usage,
            open_jobs(config) as jobs,
            ServiceClient(route, timeout=config.timeout) as client,
        ):
            names = ModelNames(config.model_aliases, config.strict_models)
            readiness = Readiness(client, names, client.are_all_healthy)
            app = create_app(config, client, store, readiness, usage, jobs, tracer)

            def started() -> None:
                url = _url(listener, "https" if tls else "http")
                log.info("serving REST on %s", url)
                if ready:
                    ready(url)

            server = Server(_server_config(config, app, tls), listener, started, config.grace, client.cancel_requests)
            signals = _signals(server, app.gateway, reloading) if stop is None else contextlib.nullcontext()
            with signals:
                async with _following(server, app.gateway, reloading), _watching(tls, upstream, client):
                    await _serve_until_stopped(server, stop, readiness)


@contextlib.contextmanager
def _tracing(config: GatewayConfig) -> Iterator[Tracer]:
    """Yield the tracer of the gateway; leaving the block sends its last spans. Raises StartError."""
    try:
        tracer = open_tracer("tintype-gateway", config.otel)
    except TracingUnavailable as error:
        raise StartError(str(error)) from error
    with contextlib.closing(tracer):
        yield tracer


def listen(address: str) -> socket.socket:
    """Return a socket bound to `HOST:PORT` (`[::1]:8080` for IPv6, `:8080` for all). Raises StartError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise StartError(f"--rest must be HOST:PORT, for example 127.0.0.1:8080, not {address!r}")
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104 - requested
    try:
        addresses = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        family, *_, sockaddr = min(addresses, key=lambda info: info[0] != socket.AF_INET)
        return socket.create_server(sockaddr[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (")[0]  # Python's addition repeats the address
        raise StartError(f"cannot listen on {address}: {why}; choose another address with --rest") from error


def backlog(limit: int) -> int:
    """Return how many connections may wait to be accepted; all of them, accepted at once, must fit into `limit`."""
    return min(BACKLOG, max(64, limit // 5))


def _server_config(config: GatewayConfig, app: ASGIApp, tls: ServerTls | None = None) -> uvicorn.Config:
    limit = connection_limit(config)
    return uvicorn.Config(
        trust_proxies(app, config.trusted_proxies),
        http=with_tls(connection_class(config, limit), tls),
        backlog=backlog(limit),
        timeout_keep_alive=config.keep_alive,  # type: ignore[arg-type] # passed to call_later, which takes floats
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `trust_proxies` handles them
        timeout_graceful_shutdown=shutdown_seconds(config.grace),
    )


async def _serve_until_stopped(server: Server, stop: asyncio.Event | None, readiness: Readiness) -> None:
    """Serve until the server is stopped, `stop` is set, or the first check of the service raises StartError."""
    serving = asyncio.create_task(server.serve(sockets=[server.listener]))
    stopping = asyncio.create_task((stop or asyncio.Event()).wait())
    checking = asyncio.create_task(readiness.wait_and_check())
    checking.add_done_callback(lambda done: None if done.cancelled() or not done.exception() else stopping.cancel())
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        readiness.stopping = True
        server.should_exit = True
        stopping.cancel()
        checking.cancel()
        await serving
    with contextlib.suppress(asyncio.CancelledError):
        await checking


@contextlib.asynccontextmanager
async def _following(
    server: Server, gateway: Gateway, reloading: Reloading[GatewayConfig] | None
) -> AsyncIterator[None]:
    """Apply new configurations inside the block."""

    def on_change(config: GatewayConfig) -> None:
        server.grace = config.grace

    running = RunningConfig(gateway, on_change)
    task = asyncio.create_task(reloading.follow(running.apply)) if reloading else None
    try:
        yield
    finally:
        if task:
            task.cancel()


@contextlib.asynccontextmanager
async def _watching(tls: ServerTls | None, upstream: FileWatch, client: ServiceClient) -> AsyncIterator[None]:
    """Use renewed certificates for new connections, from clients and to the service, inside the block."""
    loop = asyncio.get_running_loop()
    upstream.loaded = partial(loop.call_soon_threadsafe, client.renew_certificates)
    watches = [upstream, *([tls.watch] if tls else [])]
    tasks = [asyncio.create_task(watch.run()) for watch in watches]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def _signals(server: Server, gateway: Gateway, reloading: Reloading[GatewayConfig] | None) -> Iterator[None]:
    """Stop the server on a signal: on SIGINT (Ctrl-C) immediately, on others after the lame-duck time."""
    readiness = gateway.readiness

    def on_signal(number: signal.Signals) -> None:
        lame_duck = gateway.config.lame_duck
        if readiness.stopping or number == signal.SIGINT or not lame_duck:
            server.stop(at_once=readiness.stopping)
        else:
            log.info("stopping: not ready; the port closes in %g s", lame_duck)
            asyncio.get_running_loop().call_later(lame_duck, server.stop)
        readiness.stopping = True

    with on_stop_signal(on_signal, reloading.request if reloading else None):
        yield


def _url(listener: socket.socket, scheme: str) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
