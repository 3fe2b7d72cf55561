"""The server: one port with ImageService, health and reflection, from start to the end of the last request.

    run(config)                                 until SIGTERM or SIGINT: what `tintype serve` does
    await serve(config)                         the same, inside an event loop
    async with running(config) as address:      for tests and one-off commands; leaving the block ends what still runs

It drains in this order: health says NOT_SERVING, the port closes, running requests end (or `grace` does), models go.
A second signal skips the wait.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

from .api import ImageApi
from .engine.driver import DeviceThread
from .engine.engine import Engine
from .engine.limits import Limits
from .errors import TintypeError
from .health import Health, settled
from .listen import ServeError, listen
from .models import Repository, State
from .models.tuning import PLAIN, Tuning
from .servicer import MAX_MESSAGE, ImageServicer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Any

    from .api import Device
    from .config import ServiceConfig

log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["ImageService"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
FOREVER = 1e6  # seconds
OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.so_reuseport", 0),  # a second server on the port shall be an error and not a lottery
    # Clients may send keepalive pings every 5 s, also without calls; gRPC's default is 5 minutes, and a client that
    # pings more often loses its connection ("too_many_pings") and the calls on it. 4 s leaves room for jitter.
    ("grpc.http2.min_ping_interval_without_data_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens at `address`; everything in it belongs to one event loop."""

    address: str
    repository: Repository
    grpc: grpc.aio.Server
    health: Health
    servicer: ImageServicer

    async def drain(self, grace: float) -> None:
        """Take no more requests and return when those that run have ended, or been cancelled after `grace` seconds."""
        await self.health.enter_graceful_shutdown()
        # The port closes now. A grace of gRPC's own must not run out beside another stop(): that one frees the server
        # and this one would touch it again, which kills the process (grpcio 1.85).
        stopped = asyncio.ensure_future(self.grpc.stop(FOREVER))
        with suppress(TimeoutError):
            await asyncio.wait_for(self.servicer.idle.wait(), grace)
        if not stopped.done():
            await self.grpc.stop(None)  # also ends those who watch the health, and would watch for ever
        await stopped

    async def loaded(self) -> None:
        """Return when the default model is loaded, and say so in the log.

        Raises ServeError: it can't be loaded, and there is no other.
        """
        status = await settled(self.repository)
        others = [spec.name for spec in self.repository.specs() if spec.name != self.repository.default]
        if status.state is State.FAILED and not others:
            raise ServeError(status.error)
        if status.state is State.FAILED:
            log.error("the default model can't be loaded: %s", status.error)
        models = ", ".join([self.repository.default, *others])
        log.info("serving gRPC on %s: models %s; provider %s", self.address, models, status.provider or "none")


@asynccontextmanager
async def start(
    config: ServiceConfig, *, repository: Repository | None = None, device: Device | None = None
) -> AsyncGenerator[Server]:
    """Listen as `config` says and begin to load the default model; leaving the block ends all that still runs.

    `repository` and `device` are made from `config` unless given. Raises ServeError.
    """
    with (
        _repository(config, repository) as models,
        _device(config, models, device) as engine,
        closing(ImageApi(models, engine)) as api,
    ):
        server = _server(config, models, api)
        await server.grpc.start()
        with suppress(TintypeError):  # told by `loaded`, and by every request
            models.load()
        following = asyncio.create_task(server.health.follow(models))
        try:
            yield server
        finally:
            following.cancel()
            await server.drain(0)


@asynccontextmanager
async def running(config: ServiceConfig, *, repository: Repository | None = None) -> AsyncGenerator[str]:
    """Serve while inside the block, which gets the address (with port 0 the one that the system chose)."""
    async with start(config, repository=repository) as server:
        await server.loaded()
        yield server.address


async def serve(
    config: ServiceConfig, *, on_ready: Callable[[str], None] | None = None, stop: asyncio.Event | None = None
) -> None:
    """Serve until a signal, or until `stop` is set, which leaves the signals to the caller; then drain.

    `on_ready` gets the address once the default model is loaded. Raises ServeError.
    """
    at_once = asyncio.Event()
    stop, signals = (stop, ()) if stop else (asyncio.Event(), (signal.SIGTERM, signal.SIGINT))
    async with start(config) as server:
        with _handled(signals, stop, at_once):
            await _first(server.loaded(), stop.wait())
            if on_ready and not stop.is_set():
                on_ready(server.address)
            await stop.wait()
            if not server.servicer.idle.is_set():
                log.info("draining: running requests have %g s to end", config.grace)
            await _first(server.drain(config.grace), at_once.wait())


def run(config: ServiceConfig, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal, on uvloop where there is one. Raises ServeError."""
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        asyncio.run(serve(config, on_ready=on_ready))
    else:
        uvloop.run(serve(config, on_ready=on_ready))


def _server(config: ServiceConfig, repository: Repository, api: ImageApi) -> Server:
    server = grpc.aio.server(options=OPTIONS)
    servicer, health = ImageServicer(api), Health(("", SERVICE))
    pb_grpc.add_ImageServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), server)
    return Server(listen(server, config), repository, server, health, servicer)


@contextmanager
def _repository(config: ServiceConfig, given: Repository | None) -> Generator[Repository]:
    if given is not None:
        yield given
        return
    for name in ("threads", "grace", "memory", "arena"):
        if getattr(config, name) < 0:
            raise ServeError(f"{name} must be at least 0, not {getattr(config, name):g}")
    try:
        made = Repository(
            config.models,
            providers=config.providers,
            threads=config.threads,
            memory=config.memory,
            tuning=Tuning(config.cuda_graphs, config.engines or PLAIN.engines, config.arena),
        )
    except (TintypeError, ValueError) as error:
        raise ServeError(str(error)) from error
    with made as repository:
        yield repository


@contextmanager
def _device(config: ServiceConfig, repository: Repository, given: Device | None) -> Generator[Device]:
    if given is not None:
        yield given
        return
    try:
        limits = Limits(queue=config.queue, max_batch=config.max_batch)
    except ValueError as error:
        raise ServeError(str(error)) from error
    engine = Engine(repository, limits=limits)
    with closing(DeviceThread(engine)) as thread:
        yield thread


@contextmanager
def _handled(signals: tuple[signal.Signals, ...], stop: asyncio.Event, at_once: asyncio.Event) -> Generator[None]:
    """Let the first of `signals` set `stop` and the second `at_once`."""

    def caught() -> None:
        (at_once if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: there Ctrl-C ends everything at once
        for number in signals:
            loop.add_signal_handler(number, caught)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)


async def _first(*awaitables: Coroutine[Any, Any, object]) -> None:
    """Return when the first is done, or raise what it raised; the others are cancelled."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
