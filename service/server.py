"""The server of one device: one port with ImageService, health and reflection, from start to shutdown.

    run(config)                                 until SIGTERM or SIGINT
    await serve(config)                         the same, inside an event loop
    async with running(config) as address:      for tests and one-off commands; leaving the block ends running requests

`lifecycle` has the parts that do not depend on what is served; `devices` serves several devices.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from .assembly import assemble, serve_models
from .errors import TintypeError
from .lifecycle import bind, run_loop, serve_until_stopped, tracing
from .metrics.device_state import state_samples
from .metrics.exporting import export_device
from .metrics.measurements import Measurements
from .metrics.observer import IGNORE
from .models import ModelState
from .rpc.listen import ServeError
from .rpc.model_health import follow, wait_until_loaded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tintype.v1.signals import Reloading

    from .api import Device
    from .config import ServiceConfig
    from .lifecycle import Server
    from .models import Repository

log = logging.getLogger(__name__)


@asynccontextmanager
async def start(
    config: ServiceConfig, *, repository: Repository | None = None, device: Device | None = None
) -> AsyncGenerator[Server]:
    """Listen and start to load the default model; leaving the block cancels running requests.

    `repository` and `device` are created from `config` by default. Raises ServeError.
    """
    measurements = Measurements() if config.metrics else None
    observer = measurements or IGNORE
    with (
        tracing(config) as tracer,
        assemble(config, repository=repository, device=device, observer=observer) as (models, engine, api),
    ):
        ready, update = partial(_wait_until_ready, models), partial(_update, models)
        server = bind(config, api, ready=ready, update=update, observer=observer, tracer=tracer)
        state = partial(state_samples, config, models, engine)
        async with export_device(config, server.grpc, server.keys, measurements, state):
            await server.health.set_all(serving=False)
            await server.grpc.start()
            with suppress(TintypeError):  # reported by `wait_until_ready`, and by every request
                models.load()
            health_task = asyncio.create_task(follow(models, server.health, _hang_check(config, engine)))
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
    reloading: Reloading[ServiceConfig] | None = None,
) -> None:
    """Serve until a signal, then drain. With `stop`, serve until it is set, and handle no signals.

    `on_listening` is called with the address once the port is open, and `on_ready` once the default model is loaded.
    `reloading` brings new configurations. Raises ServeError.
    """
    await serve_until_stopped(
        start(config), config, on_listening=on_listening, on_ready=on_ready, stop=stop, reloading=reloading
    )


def run(
    config: ServiceConfig,
    *,
    on_ready: Callable[[str], None] | None = None,
    reloading: Reloading[ServiceConfig] | None = None,
) -> None:
    """Serve until a signal, on uvloop if it is installed. Raises ServeError."""
    run_loop(serve(config, on_ready=on_ready, reloading=reloading))


async def _update(repository: Repository, config: ServiceConfig) -> None:
    """Serve the models of a new configuration. Raises ServeError."""
    await asyncio.to_thread(serve_models, repository, config)


def _hang_check(config: ServiceConfig, device: Device) -> Callable[[], bool]:
    return lambda: config.hang_after > 0 and device.hangs(config.hang_after)


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
