"""Several services behind gateways, as processes: restarts, crashes and silence under load fail no request."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import fleet, load
from tests.support.gateway.fake_replica import KILL, fake_replicas
from tintype.gateway.errors import ServiceError
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.gateway.fake_replica import FakeReplica

pytestmark = pytest.mark.slow


def test_rolling_restart_and_a_crash_fail_no_request(tmp_path: Path) -> None:
    """All services and gateways are restarted one after the other, then a service is killed: each answer is an image.

    Equal seeds give equal images, whichever replica made them, and however often.
    """

    async def scenario() -> None:
        with fleet(tmp_path) as running:
            async with load(running, clients=3) as clients:
                await clients.wait_for_more(6)
                for server in (*running.services, *running.gateways):
                    await server.end(signal.SIGTERM)
                    server.start()
                    await running.ready(clients.client)
                await clients.wait_for_more(6)
                await running.services[0].end(signal.SIGKILL)
                await clients.wait_for_more(12)
            assert set(clients.statuses) == {200}
            assert [len(images) for images in clients.seeds.values()] == [1, 1, 1]

    asyncio.run(scenario())


def request(prompt: str = "x") -> pb.StreamImagesRequest:
    return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt=prompt, model="tiny"))


async def healthy_client(client: ServiceClient, replicas: list[FakeReplica]) -> None:
    async with asyncio.timeout(60):
        while sum(state.healthy for state in client.replica_states()) < len(replicas):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def test_a_stopped_replica_fails_no_request() -> None:
    """A process that is stopped answers nothing; its requests are repeated by the other one within seconds."""

    async def scenario(replicas: list[FakeReplica]) -> None:
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

    with fake_replicas(2) as replicas:
        asyncio.run(scenario(replicas))


def test_a_request_that_kills_its_process_kills_two() -> None:
    """A request under which two replicas die is not repeated again, and its client is asked not to retry."""

    async def scenario(replicas: list[FakeReplica]) -> None:
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

    with fake_replicas(4) as replicas:
        asyncio.run(scenario(replicas))
