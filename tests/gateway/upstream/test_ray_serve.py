"""A service behind the proxies of Ray Serve: what is asked of the proxies, and what the replicas get."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import OPTIONS, FakeService
from tintype.gateway.upstream import replica
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

PATIENCE = 30  # seconds, on a busy machine


class Proxy:
    """A proxy of Ray Serve with its own health; `fake` is behind it."""

    def __init__(self) -> None:
        self.fake = FakeService()  # type: ignore[abstract]  # the gateway calls no other methods
        self.address = ""
        self.checks = 0
        self.drains = False

    async def healthz(self, _: bytes, context: Any) -> bytes:
        self.checks += 1
        if self.drains:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "DRAINING")
        return b"\x0a\x07success"


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    proxy, server = Proxy(), grpc.aio.server(options=OPTIONS)
    service, _, method = replica.PROXY_HEALTH.lstrip("/").partition("/")
    handlers: dict[str, Any] = {method: grpc.unary_unary_rpc_method_handler(proxy.healthz)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    pb_grpc.add_ImageServiceServicer_to_server(proxy.fake, server)
    proxy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield proxy
    finally:
        await server.stop(None)


def request(model: str = "") -> pb.StreamImagesRequest:
    return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", model=model))


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tintype.gateway.upstream.replicas.CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(replica, "LIST_INTERVAL", 0.0)


@pytest.mark.usefixtures("quick_checks")
async def test_only_proxies_are_checked() -> None:
    """Checks reach no replica, so an application without requests can have none."""
    async with running_proxy() as first, running_proxy() as second:
        async with ServiceClient(Route(f"{first.address},{second.address}", ray_serve=True)), asyncio.timeout(PATIENCE):
            while min(first.checks, second.checks) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert first.fake.lookups == second.fake.lookups == []


@pytest.mark.usefixtures("quick_checks")
async def test_a_proxy_that_drains_gets_no_requests() -> None:
    """Requests go to another proxy as soon as one reports that it drains."""
    async with running_proxy() as first, running_proxy() as second:
        first.drains = True
        async with ServiceClient(Route(f"{first.address},{second.address}", ray_serve=True)) as client:
            async with asyncio.timeout(PATIENCE):
                while [state.healthy for state in client.replica_states()] != [False, True]:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            for _ in range(4):
                await client.generate(request())
        assert (len(first.fake.requests), len(second.fake.requests)) == (0, 4)


@pytest.mark.parametrize(("ray_serve", "sent"), [(True, "org/large"), (False, None)])
async def test_the_name_of_the_model(ray_serve: bool, sent: str | None) -> None:  # noqa: FBT001
    """Serve gets the name of a request's model for its routing; without one there is nothing to route by."""
    async with running_proxy() as proxy, ServiceClient(Route(proxy.address, ray_serve=ray_serve)) as client:
        await client.generate(request("org/large"))
        await client.generate(request())
    assert [metadata.get("multiplexed_model_id") for metadata in proxy.fake.metadata] == [sent, None]
