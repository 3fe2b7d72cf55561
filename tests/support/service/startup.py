"""Starts servers that must refuse to start."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tintype.service import server as servers
from tintype.service.config import ServiceConfig
from tintype.service.rpc.listen import ServeError


def make_config(grace: float = 5.0, **settings: Any) -> ServiceConfig:
    """Return the configuration of a server on a free port."""
    return ServiceConfig(**{"grpc": "127.0.0.1:0", "grace": grace, **settings})


def start_error(config: ServiceConfig) -> str:
    """Return why the server does not start: one line."""

    async def scenario() -> None:
        async with servers.running(config):
            pass

    with pytest.raises(ServeError) as caught:
        asyncio.run(scenario())
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)
