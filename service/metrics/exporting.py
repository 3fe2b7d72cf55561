"""The export of measurements while a server runs: at its own address, or to the front of several devices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from tintype.v1.threads import CallTimeout, Threads

from .definitions import Sample
from .endpoint import serve_metrics
from .forwarding import handler
from .setting import FORWARDED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    import grpc

    from tintype.v1.keys import Keys

    from ..config import ServiceConfig
    from .measurements import Measurements

ONLY_DEVICE = "0"  # the name of a device that has no other
STATE_TIMEOUT = 1.5  # seconds; less than `forwarding.TIMEOUT`


@asynccontextmanager
async def export_device(
    config: ServiceConfig,
    server: grpc.aio.Server,
    keys: Keys,
    measurements: Measurements | None,
    state: Callable[[], Sequence[Sample]],
) -> AsyncIterator[None]:
    """Export the measurements of one device, and its `state`, as the setting `metrics` says. Raises ServeError.

    While `state` does not return, because the device hangs, the last one is exported.
    `server` has not started yet.
    """
    threads = Threads("tintype-metrics", 1, STATE_TIMEOUT)
    last: list[Sample] = []

    async def collect() -> list[Sample]:
        nonlocal last
        assert measurements is not None, "only a server with metrics is asked for them"  # noqa: S101
        with suppress(CallTimeout):  # the device hangs: its state is as it was before
            last = list(await threads.call(state))
        return [*measurements.samples(), *last]

    async def text() -> bytes:
        samples = [*await collect(), Sample("device_up", (ONLY_DEVICE,), 1)]
        return await asyncio.to_thread(_text, samples, {ONLY_DEVICE: samples})

    async with AsyncExitStack() as stack:
        if config.metrics == FORWARDED:
            server.add_generic_rpc_handlers((handler(collect),))
        elif config.metrics:
            await stack.enter_async_context(serve_metrics(config.metrics, keys, text))
        yield


@asynccontextmanager
async def export_front(
    config: ServiceConfig,
    keys: Keys,
    measurements: Measurements | None,
    collect: Callable[[], Awaitable[Mapping[str, Sequence[Sample]]]],
) -> AsyncIterator[None]:
    """Export the measurements of a front, and those of its devices by name. Raises ServeError."""

    async def text() -> bytes:
        devices = await collect()
        up = [sample for samples in devices.values() for sample in samples if sample.metric == "device_up"]
        own = measurements.samples() if measurements else []
        return await asyncio.to_thread(_text, [*own, *up], devices)

    async with AsyncExitStack() as stack:
        if config.metrics:
            await stack.enter_async_context(serve_metrics(config.metrics, keys, text))
        yield


def _text(server: Sequence[Sample], devices: Mapping[str, Sequence[Sample]]) -> bytes:
    from .export import text  # noqa: PLC0415 - prometheus_client is needed only with metrics

    return text(server, devices)
