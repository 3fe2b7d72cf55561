"""Open the store that the configuration names."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from ..errors import StartError
from .localstore import LocalStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..config import GatewayConfig
    from .store import Store


def local_store(config: GatewayConfig) -> LocalStore:
    """Return the store in the data folder. Raises StartError."""
    return LocalStore(config.data, ttl=config.url_ttl, capacity=config.store_bytes, timeout=config.store_timeout)


@asynccontextmanager
async def open_store(config: GatewayConfig) -> AsyncIterator[Store]:
    """Open the configured store: a bucket, or the data folder if none is configured. Raises StartError."""
    if not config.store:
        yield local_store(config)
        return
    try:
        from . import s3store  # noqa: PLC0415 - an optional dependency, slow to import
    except ImportError as error:
        raise StartError(f"the store {config.store} needs an extra: pip install '.[s3]' in the clone") from error
    async with s3store.open_store(config) as store:
        yield store
