"""Running jobs: when one is tried again, when it is not, and who runs it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from tests.support.gateway.fakes import FakeService, Refusal, Service, config, make_images, running_gateway
from tests.support.gateway.jobs import Gate, ended, requests_of, submit, with_status
from tintype.gateway.jobs import runner, store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, reason="QUEUE_FULL", delay=0.1)
GONE = Refusal(grpc.StatusCode.UNAVAILABLE)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try jobs again at once, and look at the database often."""
    for name, seconds in (("BUSY_DELAY", 0.05), ("LOST_DELAY", 0.05), ("BEAT", 0.1), ("IDLE_BEAT", 0.2)):
        monkeypatch.setattr(runner, name, seconds)
    monkeypatch.setattr(store, "LEASE", 1.0)


@pytest.mark.usefixtures("quick")
class TestAttempts:
    async def test_a_busy_service_is_asked_again(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A full queue of the service is no failure: the job waits, however often, with the same seed."""
        fake.behave = BUSY
        job = await submit(gateway)
        await requests_of(fake, 4)
        fake.behave = make_images
        assert (await ended(gateway, job["id"]))["status"] == "succeeded"
        assert {request.seed for request in fake.requests} == {job["seed"]}

    async def test_a_lost_service_is_asked_once_more(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A job during which the service is lost runs once more, as the job may be the reason."""
        fake.behave = GONE
        job = await ended(gateway, (await submit(gateway))["id"])
        assert (job["status"], job["error"]["status"], job["error"]["reason"]) == ("failed", 503, "UNAVAILABLE")
        attempts = fake.metadata
        assert len({call["x-request-id"] for call in attempts}) == 1
        assert len({request.seed for request in fake.requests}) == 1

    async def test_jobs_wait_for_a_service_that_is_not_ready(self, service: Service, tmp_path: Path) -> None:
        """No job is taken, and none fails, while the service is not serving."""
        name = "tintype.v1.ImageService"
        async with running_gateway(config(service, tmp_path)) as client:
            await service.health.set(name, HealthCheckResponse.NOT_SERVING)
            job = await submit(client)
            answer = await client.get(f"/v1/jobs/{job['id']}?wait=1")
            assert (answer.json()["status"], service.fake.requests) == ("queued", [])
            await service.health.set(name, HealthCheckResponse.SERVING)
            assert (await ended(client, job["id"]))["status"] == "succeeded"


@pytest.mark.usefixtures("quick")
class TestSharing:
    async def test_two_gateways_share_jobs(self, service: Service, fake: FakeService, tmp_path: Path) -> None:
        """A job runs in one of them, and both show it; either can cancel it."""
        fake.behave = gate = Gate()
        settings = config(service, tmp_path)
        async with running_gateway(settings) as first, running_gateway(settings) as second:
            job = await submit(first)
            assert (await with_status(second, job["id"], "running"))["progress"] == 0.5
            gate.open.set()
            assert await ended(second, job["id"]) == await ended(first, job["id"])
            gate.open.clear()
            job = await submit(first)
            await requests_of(fake, 2)
            assert (await second.delete(f"/v1/jobs/{job['id']}")).json()["status"] == "cancelled"
            assert (await ended(first, job["id"]))["status"] == "cancelled"
        assert len(fake.requests) == 2

    async def test_a_stopping_gateway_hands_its_jobs_over(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """Requests that wait for a job end, and the other gateway runs it, with the same seed."""
        fake.behave = gate = Gate()
        settings = config(service, tmp_path)
        async with running_gateway(settings) as second:
            async with running_gateway(settings) as first:
                job = await submit(first)
                await requests_of(fake, 1)
                other = httpx.AsyncClient(base_url=first.base_url, trust_env=False, timeout=60)
                assert (await other.get("/livez")).status_code == 200
                waiting = asyncio.create_task(other.get(f"/v1/jobs/{job['id']}?wait=50"))
                await asyncio.sleep(0.1)
            assert (await waiting).json()["status"] in ("queued", "running")
            await other.aclose()
            gate.open.set()
            assert (await ended(second, job["id"]))["status"] == "succeeded"
        assert [request.seed for request in fake.requests] == [job["seed"]] * 2

    async def test_jobs_and_results_survive_a_restart(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """Finished jobs keep their results, and Idempotency-Keys their jobs; others run at the next start."""
        settings = config(service, tmp_path, jobs_running=1)
        async with running_gateway(settings) as client:
            done = await ended(client, (await submit(client, idempotency_key="k"))["id"])
            fake.behave = gate = Gate()
            waiting = [await submit(client, {"prompt": text}) for text in "ab"]
            await requests_of(fake, 2)
        gate.open.set()
        async with running_gateway(settings) as client:
            assert await ended(client, done["id"]) == done
            link = urlsplit(done["result"]["data"][0]["url"]).path
            assert (await client.get(link)).status_code == 200
            assert (await submit(client, idempotency_key="k"))["id"] == done["id"]
            for job in waiting:
                assert (await ended(client, job["id"]))["status"] == "succeeded"
        assert [request.prompt for request in fake.requests] == ["a lake", "a", "a", "b"]
