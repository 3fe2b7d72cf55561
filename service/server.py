"""The server: one port with ImageService, health and reflection, from start to shutdown.

    run(config)                                 until SIGTERM or SIGINT; used by `tintype serve`
    await serve(config)                         the same, inside an event loop
    async with running(config) as address:      for tests and one-off commands; leaving the block ends running requests

Shutdown: health says NOT_SERVING while requests are still accepted, for `lame_duck` seconds (not after SIGINT); the
port closes; running requests finish within `grace` seconds; models are freed. A second signal skips the wait.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.keys import Keys
from tintype.v1.signals import on_stop_signal
from tintype.v1.transport import KEEPALIVE_OPTIONS, MESSAGE_OPTIONS, SERVICE

from .api import ImageApi
from .engine.device_thread import DeviceThread
from .engine.engine import Engine
from .engine.queue import Limits
from .errors import TintypeError
from .models import ModelState, Repository
from .models.loading_options import LoadingOptions, Precision
from .models.runtime.provider_options import DEFAULTS, ProviderOptions
from .rpc.access import HEALTH, Guard
from .rpc.health import Health, wait_until_loaded
from .rpc.listen import ServeError, listen
from .rpc.servicer import ImageServicer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Any

    from .api import Device
    from .config import ServiceConfig

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


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens at `address`. All of it belongs to one event loop."""

    address: str
    repository: Repository
    grpc: grpc.aio.Server
    health: Health
    servicer: ImageServicer

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
        """Wait until the default model is loaded, and log it.

        Raises ServeError if it can't be loaded, since requests that name no model would fail.
        """
        status = await wait_until_loaded(self.repository)
        if status.state is ModelState.FAILED:
            raise ServeError(status.error)
        others = [spec.name for spec in self.repository.specs() if spec.name != self.repository.default]
        models = ", ".join([self.repository.default, *others])
        log.info("serving gRPC on %s: models %s; provider %s", self.address, models, status.provider or "none")


@asynccontextmanager
async def start(
    config: ServiceConfig, *, repository: Repository | None = None, device: Device | None = None
) -> AsyncGenerator[Server]:
    """Listen and start to load the default model; leaving the block cancels running requests.

    `repository` and `device` are created from `config` by default. Raises ServeError.
    """
    with (
        _repository(config, repository) as models,
        _device(config, models, device) as engine,
        closing(ImageApi(models, engine)) as api,
    ):
        server = _server(config, models, api)
        await server.health.set_all(serving=False)
        await server.grpc.start()
        with suppress(TintypeError):  # reported by `wait_until_ready`, and by every request
            models.load()
        health_task = asyncio.create_task(server.health.follow(models))
        try:
            yield server
        finally:
            health_task.cancel()
            await server.drain(0)


@asynccontextmanager
async def running(config: ServiceConfig, *, repository: Repository | None = None) -> AsyncGenerator[str]:
    """Serve inside the block and yield the address; for port 0 the system chooses the port."""
    async with start(config, repository=repository) as server:
        await server.wait_until_ready()
        yield server.address


async def serve(
    config: ServiceConfig, *, on_ready: Callable[[str], None] | None = None, stop: asyncio.Event | None = None
) -> None:
    """Serve until a signal, then drain. With `stop`, serve until it is set, and handle no signals.

    `on_ready` is called with the address once the default model is loaded. Raises ServeError.
    """
    stopping = _StopRequest(stop or asyncio.Event())
    async with start(config) as server:
        with nullcontext() if stop else on_stop_signal(stopping.caught):
            await _wait_for_first(server.wait_until_ready(), stopping.requested.wait())
            if on_ready and not stopping.requested.is_set():
                on_ready(server.address)
            await stopping.requested.wait()
            lame_duck = config.lame_duck if stopping.lame_duck_applies else 0.0
            if lame_duck or not server.servicer.idle.is_set():
                log.info("draining: the port closes in %g s, running requests have %g s", lame_duck, config.grace)
            await _wait_for_first(server.drain(config.grace, lame_duck), stopping.immediately.wait())


def run(config: ServiceConfig, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal, on uvloop if it is installed. Raises ServeError."""
    try:
        import uvloop  # noqa: PLC0415  # not on Windows
    except ImportError:
        asyncio.run(serve(config, on_ready=on_ready))
    else:
        uvloop.run(serve(config, on_ready=on_ready))


def _server(config: ServiceConfig, repository: Repository, api: ImageApi) -> Server:
    keys = Keys(config.key_file, optional=config.keys is None, api_key=config.api_key, companion=config.companion_key)
    server = grpc.aio.server(options=OPTIONS, interceptors=(Guard(keys),))
    servicer, health = ImageServicer(api), Health(("", SERVICE))
    pb_grpc.add_ImageServiceServicer_to_server(servicer, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection((SERVICE, HEALTH, reflection.SERVICE_NAME), server)
    return Server(listen(server, config), repository, server, health, servicer)


@contextmanager
def _repository(config: ServiceConfig, existing: Repository | None) -> Generator[Repository]:
    if existing is not None:
        yield existing
        return
    try:
        config.check()
        opened = Repository(
            config.models,
            providers=config.providers,
            threads=config.threads,
            memory=config.memory,
            options=provider_options(config),
            loading=loading_options(config),
        )
    except (TintypeError, ValueError) as error:
        raise ServeError(str(error)) from error
    with opened as repository:
        _check_models(repository)
        yield repository


def provider_options(config: ServiceConfig) -> ProviderOptions:
    """Return the options of execution providers that a configuration sets."""
    return ProviderOptions(
        config.cuda_graphs,
        config.engines or DEFAULTS.engines,
        config.arena,
        config.mapped,
        config.exact,
        config.fixed_shapes,
    )


def loading_options(config: ServiceConfig) -> LoadingOptions:
    """Return the options for published weights that a configuration sets, with absolute folders."""
    return LoadingOptions(
        precision=Precision(config.precision),
        mapped=config.mapped,
        exact=config.exact,
        text_encoders=config.text_encoders,
        vae=config.vae,
        cache=(config.weights_cache or _cache_folder(config) / "weights").absolute(),
        templates=config.templates,
        additions=(config.additions or config.data / "models").absolute(),
    )


def _cache_folder(config: ServiceConfig) -> Path:
    """Return `tintype` in the user's cache folder; for a user without a home directory, `cache` in the data folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tintype"
    except RuntimeError:
        return config.data / "cache"


def _check_models(repository: Repository) -> None:
    """Raise ServeError if the folder of any model can't be served: requests for it would fail."""
    served = {spec.name for spec in repository.specs()}
    broken = [repository.status(name).error for name in repository.names() if name not in served]
    if broken:
        raise ServeError("; ".join(broken))


@contextmanager
def _device(config: ServiceConfig, repository: Repository, existing: Device | None) -> Generator[Device]:
    if existing is not None:
        yield existing
        return
    try:
        limits = Limits(queue=config.queue, max_batch=config.max_batch)
    except ValueError as error:
        raise ServeError(str(error)) from error
    engine = Engine(repository, limits=limits)
    with closing(DeviceThread(engine)) as thread:
        yield thread


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
