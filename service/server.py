"""The server of one device: one port with ImageService, health and reflection, from start to shutdown.

    run(config)                                 until SIGTERM or SIGINT
    await serve(config)                         the same, inside an event loop
    async with running(config) as address:      for tests and one-off commands; leaving the block ends running requests

`lifecycle` has the parts that do not depend on what is served; `devices` serves several devices.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .api import ImageApi
from .engine.device_thread import DeviceThread
from .engine.engine import Engine
from .engine.queue import Limits
from .errors import TintypeError
from .lifecycle import bind, run_loop, serve_until_stopped
from .models import ModelState, Repository
from .models.loading_options import LoadingOptions, Precision
from .models.runtime.provider_options import DEFAULTS, ProviderOptions, arena_limit
from .models.runtime.providers import choose
from .rpc.listen import ServeError
from .rpc.model_health import follow, wait_until_loaded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from .api import Device
    from .config import ServiceConfig
    from .lifecycle import Server

log = logging.getLogger(__name__)


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
        server = bind(config, api, partial(_wait_until_ready, models))
        await server.health.set_all(serving=False)
        await server.grpc.start()
        with suppress(TintypeError):  # reported by `wait_until_ready`, and by every request
            models.load()
        health_task = asyncio.create_task(follow(models, server.health))
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
    config: ServiceConfig,
    *,
    on_listening: Callable[[str], None] | None = None,
    on_ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until a signal, then drain. With `stop`, serve until it is set, and handle no signals.

    `on_listening` is called with the address once the port is open, and `on_ready` once the default model is loaded.
    Raises ServeError.
    """
    await serve_until_stopped(start(config), config, on_listening=on_listening, on_ready=on_ready, stop=stop)


def run(config: ServiceConfig, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Serve until a signal, on uvloop if it is installed. Raises ServeError."""
    run_loop(serve(config, on_ready=on_ready))


async def _wait_until_ready(repository: Repository, address: str) -> None:
    """Wait until the default model is loaded, and log it.

    Raises ServeError if it can't be loaded, since requests that name no model would fail.
    """
    status = await wait_until_loaded(repository)
    if status.state is ModelState.FAILED:
        raise ServeError(status.error)
    others = [spec.name for spec in repository.specs() if spec.name != repository.default]
    models = ", ".join([repository.default, *others])
    log.info("serving gRPC on %s: models %s; provider %s", address, models, status.provider or "none")


@contextmanager
def _repository(config: ServiceConfig, existing: Repository | None) -> Generator[Repository]:
    if existing is not None:
        yield existing
        return
    try:
        config.check()
        options, memory = provider_options(config), config.memory
        opened = Repository(
            config.models,
            providers=config.providers,
            threads=config.threads,
            memory=options.weights_budget(memory, choose(config.providers)) if memory else 0,
            options=options,
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
        arena_limit(config.arena, config.memory),
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
