"""Let all of these tests share one event loop: grpc.aio allows no second one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from tests.support.gateway.fakes import FakeService, Service, config, running_gateway, running_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
async def shared_service(anyio_backend: str) -> AsyncIterator[Service]:  # noqa: ARG001 - it chooses the loop
    async with running_service() as service:
        yield service


@pytest.fixture(scope="package")
async def shared_gateway(
    shared_service: Service, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    data = tmp_path_factory.mktemp("data")
    async with running_gateway(config(shared_service, data, max_body=100_000)) as client:
        yield client


@pytest.fixture
async def service(shared_service: Service) -> Service:
    """Return a fake service in its initial state."""
    shared_service.fake.reset()
    return shared_service


@pytest.fixture
async def fake(service: Service) -> FakeService:
    """Return the fake, which controls and records the service's calls."""
    return service.fake


@pytest.fixture
async def gateway(shared_gateway: httpx.AsyncClient, service: Service) -> httpx.AsyncClient:  # noqa: ARG001
    """Return an HTTP client of a gateway for that service."""
    return shared_gateway


@pytest.fixture
async def sdk(gateway: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """Return OpenAI's own client of that gateway, without retries."""
    async with openai.AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key="any", max_retries=0) as client:
        yield client
