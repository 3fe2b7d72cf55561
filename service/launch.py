"""The servers of this service: that of one device, or with the setting `devices` the front of several.

Only the one that is used is imported: the front needs neither models nor onnxruntime.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Callable

    from tintype.v1.signals import Reloading

    from .config import ServiceConfig


def _server(config: ServiceConfig) -> Any:
    return import_module(".devices.front" if config.devices else ".server", __package__)


def run(
    config: ServiceConfig,
    *,
    on_ready: Callable[[str], None] | None = None,
    reloading: Reloading[ServiceConfig] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, on uvloop if it is installed; `reloading` brings new configurations.

    Raises ServeError.
    """
    _server(config).run(config, on_ready=on_ready, reloading=reloading)


async def serve(
    config: ServiceConfig, *, on_ready: Callable[[str], None] | None = None, stop: asyncio.Event | None = None
) -> None:
    """Serve until a signal, then drain. With `stop`, serve until it is set, and handle no signals.

    `on_ready` is called with the address once requests can be served. Raises ServeError.
    """
    await _server(config).serve(config, on_ready=on_ready, stop=stop)


@asynccontextmanager
async def running(config: ServiceConfig) -> AsyncGenerator[str]:
    """Serve inside the block and yield the address; for port 0 the system chooses the port."""
    async with _server(config).running(config) as address:
        yield address
