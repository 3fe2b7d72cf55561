"""A running gateway takes over new settings, without dropping a request."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.gateway.fakes import PATH, config
from tintype.gateway import reloading
from tintype.gateway.server import serve
from tintype.v1.keyfile import create
from tintype.v1.signals import Reloading

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.gateway.fakes import Service
    from tintype.gateway.config import GatewayConfig

pytestmark = pytest.mark.anyio


class Reloaded:
    """A running gateway, whose settings a test changes."""

    def __init__(self, settings: GatewayConfig, caplog: pytest.LogCaptureFixture) -> None:
        self.settings = settings
        self.reloading: Reloading[GatewayConfig] = Reloading(lambda: self.settings)
        self._caplog = caplog

    async def change(self, **changes: Any) -> str:
        """Change settings, and return what the log says about it."""
        self.settings = replace(self.settings, **changes)
        self._caplog.clear()
        self.reloading.request()
        async with asyncio.timeout(30):
            while True:
                for record in self._caplog.records:
                    if record.message.startswith("the settings "):
                        return record.message
                await asyncio.sleep(0.01)


@asynccontextmanager
async def reloaded_gateway(
    settings: GatewayConfig, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[tuple[Reloaded, httpx.AsyncClient]]:
    caplog.set_level("INFO")
    server = Reloaded(settings, caplog)
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, ready=ready.set_result, stop=stop, reloading=server.reloading))
    async with httpx.AsyncClient(base_url=await ready, trust_env=False, timeout=30) as client:
        try:
            yield server, client
        finally:
            stop.set()
            await serving


async def test_settings(service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Aliases, rates and bounds change at once; what needs a restart is named, and stays."""
    async with reloaded_gateway(config(service, tmp_path), caplog) as (server, client):
        changes = {
            "aliases": {"big": "org/large"},
            "list_aliases": True,
            "rate_limit": 5,
            "max_steps": 3,
            "max_body": 9,
        }
        said = await server.change(**changes)
        assert said == "the settings were read again; --max-body needs a restart"
        assert "big" in [one["id"] for one in (await client.get("/v1/models")).json()["data"]]
        answer = await client.post(PATH, json={"prompt": "x", "model": "big"})
        assert (answer.status_code, answer.headers["x-ratelimit-limit-requests"]) == (200, "5")
        assert (await client.post(PATH, json={"prompt": "x", "steps": 4})).status_code == 400
        assert await server.change(aliases={}, max_body=2**26) == "the settings were read again"
        assert "big" not in [one["id"] for one in (await client.get("/v1/models")).json()["data"]]


async def test_keys(service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Another key file, and another key of the settings, apply to the next request."""
    secret = create(tmp_path / "other", "alice")
    async with reloaded_gateway(config(service, tmp_path, api_key="first"), caplog) as (server, client):

        async def status(key: str) -> int:
            return (await client.get("/v1/models", headers={"api-key": key})).status_code

        assert [await status("first"), await status(secret)] == [200, 401]
        await server.change(keys=tmp_path / "other", api_key="second")
        assert [await status("first"), await status("second"), await status(secret)] == [401, 200, 200]


async def test_faults_change_nothing(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alias to an unknown model, and a missing key file, leave all settings as they were."""
    monkeypatch.setattr(reloading, "ALIAS_WAIT", 0.0)
    async with reloaded_gateway(config(service, tmp_path), caplog) as (server, client):
        said = await server.change(aliases={"a": "gone"}, rate_limit=5)
        assert said.startswith("the settings are not reloaded: --aliases names an unknown model in 'a=gone'")
        said = await server.change(aliases={}, keys=tmp_path / "gone")
        assert said.startswith("the settings are not reloaded: ")
        answer = await client.post(PATH, json={"prompt": "x"})
        assert (answer.status_code, "x-ratelimit-limit-requests" in answer.headers) == (200, False)


async def test_running_requests_go_on(service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Under load no request fails while the settings change."""
    async with reloaded_gateway(config(service, tmp_path), caplog) as (server, client):
        done = asyncio.Event()

        async def load() -> set[int]:
            statuses = set()
            while not done.is_set():
                statuses.add((await client.post(PATH, json={"prompt": "x"})).status_code)
            return statuses

        loads = [asyncio.create_task(load()) for _ in range(4)]
        for number in range(10):
            await server.change(rate_limit=1000 + number)
        done.set()
        assert await asyncio.gather(*loads) == [{200}] * 4
