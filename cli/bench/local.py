"""A bench of a service and a gateway in processes of their own, as `tintype up` runs them."""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tintype.gateway.config import GatewayConfig
from tintype.v1 import image_service_pb2 as pb

from ..errors import UserError
from ..generation.local import local_service
from ..servers.rest_client import RestGateway, wait_until_ready
from ..servers.supervisor import StopRequest, server_process
from ..service_client import connect
from ..settings.sources import Sources
from .clients import GrpcClient, RestClient
from .processes import cpu_seconds, import_seconds, peak_memory
from .remote import describe_model, measure_first
from .schedule import GATEWAY, steps_to_measure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ..servers.supervisor import ServerProcess
    from ..service_client import ServiceConnection
    from .figures import Figures
    from .schedule import Schedule

RUNS = 3  # of imports and of loads
QUICK = 0.05  # share of the time that is left, up to which something is measured again


async def measure_local(
    sources: Sources, model: str, figures: Figures, schedule: Schedule, steps: Sequence[int]
) -> None:
    """Measure a service of its own, with the model that the settings name. Raises UserError, ServerExited."""
    config, name = local_service(sources, model)
    if name:
        raise UserError(f"there is no folder or file {name}; name a path or OWNER/NAME on the hub")
    schedule.begin("imports")
    for _ in range(RUNS):
        figures.imports.values.append(await import_seconds())
        if figures.imports.values[-1] > QUICK * schedule.left():
            break
    schedule.begin("the start of the service")
    stop, began = StopRequest(), time.perf_counter()
    config = replace(config, log_level="warning", lame_duck=0.0, grace=0.0)
    async with server_process("serve", "service", config, stop) as server:
        address = await server.ready()
        figures.ready.values.append(time.perf_counter() - began)
        try:
            async with connect(Sources(flags={"grpc": address, "service_key": config.api_key})) as connection:
                client = await _measure_service(connection, server.process.pid, figures, schedule, steps)
                await _measure_gateway(client, address, config.api_key, figures, schedule)
        finally:
            figures.service_memory = peak_memory(server.process.pid)


async def _measure_service(
    connection: ServiceConnection, pid: int, figures: Figures, schedule: Schedule, steps: Sequence[int]
) -> GrpcClient:
    """Measure a service that has just started, and return its client."""
    found = await describe_model(connection, "", figures)
    figures.where = "in a process of its own"
    client = GrpcClient(connection)
    schedule.begin("the first image")
    await measure_first(client, found.defaults.steps, figures)
    await _measure_loads(connection, found.name, figures, schedule)
    each = [figures.of(number) for number in steps_to_measure(steps, found.defaults.steps)]
    await schedule.measure_steps(client, each, partial(cpu_seconds, pid), after=GATEWAY, reserved=figures.ready.median)
    return client


async def _measure_gateway(client: GrpcClient, address: str, key: str, figures: Figures, schedule: Schedule) -> None:
    """Start a gateway before the service, and measure what it adds; it starts in about the service's time."""
    schedule.begin("the start of a gateway")
    if schedule.fits("the gateway", figures.ready.median):
        async with _gateway(address, key) as (gateway, process):
            await schedule.measure_gateway(client, gateway, figures)
            figures.gateway_memory = peak_memory(process.process.pid)


async def _measure_loads(connection: ServiceConnection, model: str, figures: Figures, schedule: Schedule) -> None:
    """Load the model again, unless its first load took long."""
    stub, metadata = connection
    if figures.ready.median > 2 * QUICK * schedule.left():
        figures.notes.append("loading the model again is left out: it takes too much of the time that is left")
        return
    schedule.begin("loads")
    for _ in range(RUNS):
        await stub.UnloadModel(pb.UnloadModelRequest(model=model), metadata=metadata)
        began = time.perf_counter()
        await stub.LoadModel(pb.LoadModelRequest(model=model), metadata=metadata)
        figures.load.values.append(time.perf_counter() - began)


@asynccontextmanager
async def _gateway(address: str, key: str) -> AsyncIterator[tuple[RestClient, ServerProcess]]:
    """Run a gateway before the service while inside the block."""
    with TemporaryDirectory(prefix="tintype-bench-") as data:
        config = GatewayConfig(
            rest="127.0.0.1:0",
            grpc=address,
            service_key=key,
            api_key=secrets.token_urlsafe(32),
            data=Path(data),
            log_level="warning",
            lame_duck=0.0,
            grace=0.0,
        )
        async with server_process("gateway", "gateway", config, StopRequest()) as process:
            gateway = RestGateway(await process.ready(), config.api_key)
            await wait_until_ready(gateway, address)
            async with gateway.client() as http:
                yield RestClient(http), process
