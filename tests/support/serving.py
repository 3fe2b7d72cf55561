"""Service and gateway in the test's own process, with the built-in model."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tintype.gateway.config import GatewayConfig
from tintype.gateway.server import serve
from tintype.service.config import ServiceConfig
from tintype.service.server import start

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

PATIENCE = 60  # seconds until the gateway must be ready


@asynccontextmanager
async def serving(data: Path, **both: Any) -> AsyncGenerator[tuple[Any, str, str]]:
    """Serve the built-in model; yield the server and the addresses of gRPC and REST. `both` are settings of both."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    async with start(ServiceConfig(grpc="127.0.0.1:0", threads=1, **both)) as server:
        await server.wait_until_ready()
        config = GatewayConfig(rest="127.0.0.1:0", grpc=server.address, data=data, **both)
        task = asyncio.create_task(serve(config, ready=ready.set_result, stop=stop))
        try:
            yield server, server.address, await asyncio.wait_for(ready, PATIENCE)
        finally:
            stop.set()
            await task
