"""Replicas as processes that crash, or are stopped."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.fake_replica import KILL, fake_replicas
from tintype.gateway.errors import ServiceError
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from tests.support.gateway.fake_replica import FakeReplica

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def request(prompt: str = "x") -> pb.StreamImagesRequest:
    return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt=prompt, model="tiny"))


async def healthy_client(client: ServiceClient, replicas: list[FakeReplica]) -> None:
    async with asyncio.timeout(60):
        while sum(state.healthy for state in client.replica_states()) < len(replicas):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_stopped_replica_fails_no_request() -> None:
    """A process that is stopped answers nothing; its requests are repeated by the other one within seconds."""
    with fake_replicas(2) as replicas:
        target = ",".join(replica.address for replica in replicas)
        async with ServiceClient(Route(target), timeout=50) as client:
            await healthy_client(client, replicas)
            running = [asyncio.create_task(client.generate(request())) for _ in range(8)]
            await asyncio.sleep(0.2)
            replicas[0].send(signal.SIGSTOP)
            later = [await client.generate(request()) for _ in range(3)]
            responses = [*later, *await asyncio.gather(*running)]
            assert [len(response.images) for response in responses] == [1] * 11
            assert sum(state.repeats for state in client.replica_states()) > 0


async def test_a_request_that_kills_its_process_kills_two() -> None:
    """A request under which two replicas die is not repeated again, and its client is asked not to retry."""
    with fake_replicas(4) as replicas:
        target = ",".join(replica.address for replica in replicas)
        async with ServiceClient(Route(target)) as client:
            await healthy_client(client, replicas)
            with pytest.raises(ServiceError, match="Two replicas") as caught:
                await client.generate(request(KILL))
            assert (caught.value.status, caught.value.retry_after) == (500, None)
            async with asyncio.timeout(60):
                while sum(replica.process.poll() is None for replica in replicas) != 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert len((await client.generate(request())).images) == 1
