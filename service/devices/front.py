"""The process with the public address of several devices, from start to shutdown.

    run(config)                                 until SIGTERM or SIGINT; used by `tintype serve --devices`
    await serve(config)                         the same, inside an event loop
    async with running(config) as address:      for tests and one-off commands; leaving the block ends running requests

It listens when the first device lists its models, and is ready when every device serves. Its health is SERVING while
at least one device serves. It ends only by a signal: devices that are lost are started again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import grpc

from ..lifecycle import bind, run_loop, serve_until_stopped, tracing
from ..metrics.definitions import Sample
from ..metrics.exporting import export_front
from ..metrics.measurements import Measurements
from ..metrics.observer import IGNORE
from ..rpc.listen import ServeError
from .api import DeviceApi
from .inventory import find_devices
from .pool import DevicePool, State

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tintype.v1.signals import Reloading

    from ..config import ServiceConfig
    from ..lifecycle import Server
    from ..rpc.health import Health
    from .pool import Device

log = logging.getLogger(__name__)

POLL = 0.05  # seconds between two looks at the devices' health


@asynccontextmanager
async def start(config: ServiceConfig) -> AsyncGenerator[Server]:
    """Bind the address and start the devices; leaving the block cancels running requests and ends the devices.

    Raises ServeError.
    """
    pool = await _pool(config)

    async def ready(address: str) -> None:
        await pool.wait_until_ready()
        devices = ", ".join(str(device.spec) for device in pool.devices)
        log.info("serving gRPC on %s: models %s; devices %s", address, ", ".join(pool.models), devices)

    measurements = Measurements() if config.metrics else None
    with tracing(config) as tracer:
        update, observer = partial(_update, pool), measurements or IGNORE
        server = bind(config, DeviceApi(pool), ready=ready, update=update, observer=observer, tracer=tracer)
        await server.health.set_all(serving=False)
        async with pool.run(), export_front(config, server.keys, measurements, partial(_samples, pool)):
            tasks = asyncio.create_task(_open(server, pool)), asyncio.create_task(_follow(pool, server.health))
            try:
                yield server
            finally:
                for task in tasks:
                    task.cancel()
                await server.drain(0)


@asynccontextmanager
async def running(config: ServiceConfig) -> AsyncGenerator[str]:
    """Serve inside the block and yield the address; for port 0 the system chooses the port."""
    async with start(config) as server:
        await server.wait_until_ready()
        yield server.address


async def serve(
    config: ServiceConfig,
    *,
    on_ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
    reloading: Reloading[ServiceConfig] | None = None,
) -> None:
    """Serve until a signal, then drain. With `stop`, serve until it is set, and handle no signals.

    `on_ready` is called with the address once every device serves. `reloading` brings new configurations.
    Raises ServeError.
    """
    await serve_until_stopped(start(config), config, on_ready=on_ready, stop=stop, reloading=reloading)


def run(
    config: ServiceConfig,
    *,
    on_ready: Callable[[str], None] | None = None,
    reloading: Reloading[ServiceConfig] | None = None,
) -> None:
    """Serve until a signal, on uvloop if it is installed. Raises ServeError."""
    run_loop(serve(config, on_ready=on_ready, reloading=reloading))


async def _pool(config: ServiceConfig) -> DevicePool:
    try:
        config.check()
        specs = await asyncio.to_thread(find_devices, config.devices, config.providers)
    except ValueError as error:
        raise ServeError(str(error)) from error
    return DevicePool(config, specs)


async def _update(pool: DevicePool, config: ServiceConfig) -> None:
    """Bring a new configuration to all devices.

    Raises ServeError if a model is missing, or if a device refuses it: one that ends starts with the previous one then.
    """
    missing = [path for path in config.models if not await asyncio.to_thread(path.exists)]
    if missing:
        raise ServeError(f"--model {missing[0]} does not exist")
    running = [device for device in pool.devices if device.process]
    problems = await asyncio.gather(*(device.process.update(config) for device in running if device.process))
    for device, problem in zip(running, problems, strict=True):
        if problem:
            raise ServeError(f"device {device.name}: {problem}")
    pool.config = config
    for device in pool.devices:
        if device.process and device not in running:  # it has started meanwhile
            await device.process.update(config)


async def _samples(pool: DevicePool) -> dict[str, list[Sample]]:
    """Return the measurements of each device; those of a device that does not answer only say that it is not up."""
    found = await asyncio.gather(*(_device_samples(device) for device in pool.devices))
    return {device.name: samples for device, samples in zip(pool.devices, found, strict=True)}


async def _device_samples(device: Device) -> list[Sample]:
    up = Sample("device_up", (device.name,), float(device.state is State.SERVING))
    if device.connection is None:
        return [up]
    try:
        return [up, *await device.connection.samples()]
    except (grpc.aio.AioRpcError, ValueError) as error:
        log.debug("device %s: no metrics: %s", device.name, error)
        return [up]


async def _open(server: Server, pool: DevicePool) -> None:
    """Accept calls once the models are known: the rights of keys depend on them."""
    await pool.listed.wait()
    await server.grpc.start()


async def _follow(pool: DevicePool, health: Health) -> None:
    """Update the health from the states of the devices, until cancelled."""
    while True:
        await health.set_all(serving=pool.is_serving)
        await asyncio.sleep(POLL)
