"""Several replicas: which one gets a request, and what happens to requests whose replica is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from tests.support.gateway.fakes import (
    QUEUED,
    Refusal,
    Service,
    config,
    image,
    images_with_previews,
    preview_event,
    running_gateway,
    running_service,
    sleep_long,
)
from tintype.gateway.errors import GatewayStopping, ServiceError, StartError
from tintype.gateway.upstream import attempts, lookups, replica, replicas
from tintype.gateway.upstream import client as client_module
from tintype.gateway.upstream.channel import Route
from tintype.gateway.upstream.client import ServiceClient
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

LOST = grpc.StatusCode.UNAVAILABLE
NAME = "tintype.v1.ImageService"
PATIENCE = 30  # seconds, on a busy machine


def request(count: int = 1, *, model: str = "tiny", seed: int | None = 7) -> pb.StreamImagesRequest:
    return pb.StreamImagesRequest(generation=pb.GenerateImagesRequest(prompt="x", model=model, count=count, seed=seed))


@asynccontextmanager
async def running(count: int, **options: Any) -> AsyncIterator[tuple[list[Service], ServiceClient]]:
    """Run several fake services; yield them, and a client that has found all of them healthy."""
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(running_service()) for _ in range(count)]
        target = ",".join(service.address for service in services)
        client = await stack.enter_async_context(ServiceClient(Route(target), **options))
        await healthy(client, count)
        yield services, client


async def healthy(client: ServiceClient, count: int) -> None:
    """Wait until so many replicas are healthy."""
    async with asyncio.timeout(PATIENCE):
        while sum(state.healthy for state in client.replica_states()) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def numbers(services: list[Service]) -> list[int]:
    """Return how many requests each service has received."""
    return [len(service.fake.requests) for service in services]


def die_once(services: list[Service], *events: pb.StreamImagesResponse) -> None:
    """Let the next request end as a lost connection does, after some events; further ones are answered."""

    async def behave(_: Any, context: Any) -> Any:
        for service in services:
            service.fake.reset_behaviour()
        for event in events:
            yield event
        await context.abort(LOST, "Socket closed")

    for service in services:
        service.fake.behave = behave


async def all_events(client: ServiceClient, message: pb.StreamImagesRequest) -> list[pb.StreamImagesResponse]:
    async with aclosing(client.stream(message)) as events:
        return [event async for event in events]


class TestRepetition:
    async def test_missing_images_are_made_elsewhere(self) -> None:
        """After a loss another replica makes the missing images with their seeds; the client gets each thing once."""
        async with running(2) as (services, client):
            for service in services:
                service.fake.after = images_with_previews(service.fake)
            step = pb.StreamImagesResponse(progress=pb.Progress(index=0, step=1, steps=4))
            die_once(services, QUEUED, step, preview_event(0, 0), image(0))
            message = request(3)
            message.previews.count = 1
            events = await all_events(client, message)
            assert numbers(services) == [1, 1]
        made = sorted((made.count, made.seed) for service in services for made in service.fake.requests)
        assert made == [(2, 8), (3, 7)]
        assert [event.image.index for event in events if event.HasField("image")] == [0, 1, 2]
        previews = [event.preview for event in events if event.HasField("preview")]
        assert [(each.index, each.preview_index) for each in previews] == [(0, 0), (1, 0), (2, 0)]
        steps = [event.progress for event in events if event.HasField("progress")]
        assert [(each.index, each.step) for each in steps] == [(0, 1), (1, 1), (2, 1)]
        assert events[-1].completed.usage.images == 3

    async def test_a_request_without_a_seed_keeps_the_drawn_one(self) -> None:
        """The gateway draws the seed, so that a repetition gives the same image."""
        async with running(2) as (services, client):
            die_once(services)
            message = request(seed=None)
            await client.generate(message)
        seeds = [made.seed for service in services for made in service.fake.requests]
        assert seeds == [message.generation.seed] * 2

    async def test_a_request_is_repeated_once(self) -> None:
        """A request that is lost with two replicas reaches no third one; it fails with 503."""
        async with running(3) as (services, client):
            for service in services:
                service.fake.behave = Refusal(LOST, "Socket closed")
            with pytest.raises(ServiceError) as caught:
                await client.generate(request())
            assert sorted(numbers(services)) == [0, 1, 1]
            assert (caught.value.status, caught.value.retry_after) == (503, 1)
            assert sum(state.repeats for state in client.replica_states()) == 1

    async def test_a_loss_after_the_last_image_costs_nothing(self) -> None:
        """If only the summary is missing, no image is made again."""
        async with running(2) as (services, client):
            die_once(services, image(0))
            response = await client.generate(request())
            assert sum(numbers(services)) == 1
            assert (len(response.images), response.usage.images, response.model) == (1, 1, "tiny")

    @pytest.mark.parametrize("reason", ["INVALID_FIELD", "GENERATION_FAILED", "OUT_OF_MEMORY"])
    async def test_answers_are_not_repeated(self, reason: str) -> None:
        """An error that the service explains is its answer."""
        async with running(2) as (services, client):
            for service in services:
                service.fake.behave = Refusal(grpc.StatusCode.INTERNAL, "no", reason)
            with pytest.raises(ServiceError, match="no"):
                await client.generate(request())
            assert sum(numbers(services)) == 1

    @pytest.mark.parametrize(
        "refusal",
        [
            Refusal(LOST, "the server is shutting down", "UNAVAILABLE"),
            Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL"),
        ],
    )
    async def test_refused_requests_go_on_to_others(self, refusal: Refusal) -> None:
        """A replica that drains, or whose queue is full, costs no repetition; if all refuse, that is the answer."""
        async with running(3) as (services, client):
            for service in services[1:]:
                service.fake.behave = refusal
            for _ in range(4):
                assert len((await client.generate(request())).images) == 1
            services[0].fake.behave = refusal
            with pytest.raises(ServiceError, match=refusal.message):
                await client.generate(request())
            assert all(state.repeats == 0 for state in client.replica_states())

    @pytest.mark.parametrize(("count", "asked", "pauses"), [(1, 4, [0.1, 0.2, 0.4]), (2, 8, [0.1, 0.2, 0.4])])
    async def test_replicas_that_refuse_are_asked_again_later(
        self, count: int, asked: int, pauses: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If all replicas refuse a request, they are asked again after a pause, which is longer each time."""
        paused = []

        async def pause(seconds: float) -> None:
            paused.append(seconds)

        monkeypatch.setattr(attempts, "pause", pause)
        async with running(count) as (services, client):
            for service in services:
                service.fake.behave = Refusal(LOST, "the server is shutting down", "UNAVAILABLE")
            with pytest.raises(ServiceError, match="shutting down"):
                await client.generate(request())
            assert sum(numbers(services)) == asked
        assert paused == pytest.approx(pauses)

    async def test_events_without_a_field_are_skipped(self) -> None:
        """Events of a kind that this gateway does not know are left out."""
        async with running(1) as ([service], client):

            async def newer(*_: Any) -> Any:
                yield pb.StreamImagesResponse()
                yield image(0)
                yield pb.StreamImagesResponse()
                yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

            service.fake.behave = newer
            kinds = [event.WhichOneof("event") for event in await all_events(client, request())]
            assert kinds == ["image", "completed"]

    async def test_the_end_of_the_gateway_ends_requests(self) -> None:
        """When the gateway stops, running requests fail with GatewayStopping, and none is repeated."""
        async with running(2) as (services, client):
            services[0].fake.behave = services[1].fake.behave = sleep_long
            tasks = [asyncio.create_task(client.generate(request())) for _ in range(3)]
            async with asyncio.timeout(PATIENCE):
                while sum(numbers(services)) < 3:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            client.cancel_requests()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result) for result in results] == [GatewayStopping] * 3
            assert sum(numbers(services)) == 3


class TestHealth:
    async def test_an_unhealthy_replica_gets_no_requests(self) -> None:
        """A replica that reports NOT_SERVING gets no requests until it is healthy again."""
        async with running(2) as (services, client):
            await services[0].health.set(NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
            await healthy(client, 1)
            for _ in range(4):
                await client.generate(request())
            assert numbers(services) == [0, 4]
            assert not await client.health_problem()
            services[0].fake.loaded.add("tiny")
            await services[0].health.set(NAME, health_pb2.HealthCheckResponse.SERVING)
            await healthy(client, 2)
            await client.generate(request())
            assert numbers(services) == [1, 4]

    async def test_without_a_healthy_replica_the_reason_is_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If all replicas drain, requests get 503 with that reason; a replica that comes back in time serves them."""
        monkeypatch.setattr(replicas, "PATIENCE", 0.2)
        async with running(2) as (services, client):
            for service in services:
                await service.health.set(NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
            await healthy(client, 0)
            with pytest.raises(ServiceError, match="draining, or has no model that works") as caught:
                await client.generate(request())
            assert (caught.value.status, caught.value.retry_after) == (503, 1)
            monkeypatch.setattr(replicas, "PATIENCE", PATIENCE)
            waiting = asyncio.create_task(client.generate(request()))
            await services[1].health.set(NAME, health_pb2.HealthCheckResponse.SERVING)
            assert len((await waiting).images) == 1

    async def test_a_silent_replica_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The requests of a replica that answers nothing any more are repeated by another one; alone it keeps them."""
        for module in (replica, replicas):
            monkeypatch.setattr(module, "SILENCE", 0.3)
            monkeypatch.setattr(replica, "FAILOVER", 0.6)
            monkeypatch.setattr(module, "CHECK_INTERVAL", 0.05)
        async with running(2) as (services, client):
            await services[1].health.set(NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
            await healthy(client, 1)
            services[0].fake.behave = sleep_long
            task = asyncio.create_task(client.generate(request()))
            await asyncio.wait_for(services[0].fake.started.wait(), PATIENCE)
            services[0].health.hangs = True
            await healthy(client, 0)
            await asyncio.sleep(0.5)
            assert not task.done()
            await services[1].health.set(NAME, health_pb2.HealthCheckResponse.SERVING)
            assert len((await asyncio.wait_for(task, PATIENCE)).images) == 1
            assert numbers(services) == [1, 1]

    async def test_a_stalled_replica_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Requests without events on a replica that has been unhealthy for long are repeated elsewhere."""
        monkeypatch.setattr(replica, "STALL", 0.5)
        async with running(2) as (services, client):
            for service in services:
                service.fake.behave = sleep_long
            task = asyncio.create_task(client.generate(request()))
            async with asyncio.timeout(PATIENCE):
                while not sum(numbers(services)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            hung, other = services if services[0].fake.requests else services[::-1]
            other.fake.reset_behaviour()
            await hung.health.set(NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
            assert len((await asyncio.wait_for(task, PATIENCE)).images) == 1

    async def test_readiness_does_not_wait_for_a_replica_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All replicas are asked at the same time, and the first one that can serve is enough."""
        monkeypatch.setattr(client_module, "HEALTH_TIMEOUT", 3600)
        async with running(2) as (services, client):
            services[0].health.hangs = True
            assert not await asyncio.wait_for(client.health_problem(), PATIENCE)

    async def test_a_replica_that_rejects_the_key_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A replica that does not accept the gateway's key gets no requests, and the reason is given."""
        for name, value in (("CHECK_INTERVAL", 0.01), ("LIST_INTERVAL", 0.01)):
            monkeypatch.setattr(replica, name, value)
        monkeypatch.setattr(replicas, "CHECK_INTERVAL", 0.01)
        monkeypatch.setattr(replicas, "PATIENCE", 0.2)
        async with running(2) as (services, client):
            services[0].fake.rejects_key = True
            await healthy(client, 1)
            for _ in range(3):
                await client.generate(request())
            services[1].fake.rejects_key = True
            await healthy(client, 0)
            assert await client.health_problem() == "the image service does not accept this gateway's key"
            with pytest.raises(ServiceError, match="does not accept this gateway's key"):
                await client.generate(request())
            assert numbers(services) == [0, 3]

    async def test_a_check_survives_the_end_of_its_channel(self) -> None:
        """A check that runs while certificates are renewed, or an address goes, ends as one without an answer."""
        async with running(1) as ([service], client):
            service.health.hangs = True
            checking = asyncio.create_task(client.health_problem())
            await asyncio.sleep(0.1)
            client.renew_certificates()
            assert await asyncio.wait_for(checking, PATIENCE) == replica.UNCHECKED

    async def test_a_server_without_health_is_asked_for_its_model(self) -> None:
        """A server without health checks counts as healthy while it describes its default model."""
        async with running_service(with_health=False) as service, ServiceClient(Route(service.address)) as client:
            assert not await client.health_problem()
            assert len((await client.generate(request())).images) == 1


class TestModels:
    async def test_each_model_is_served_where_it_is(self) -> None:
        """Requests go where their model is listed, and the list is the union, the first replica's default first."""
        async with running_service() as first, running_service() as second:
            first.fake.models, second.fake.models = ["a", "both"], ["b", "both", "c"]
            second.fake.loaded = {"both"}
            async with ServiceClient(Route(f"{first.address},{second.address}")) as client:
                await healthy(client, 2)
                models = await client.models()
                assert [model.name for model in models] == ["a", "b", "both", "c"]
                assert [model.is_default for model in models] == [True, False, False, False]
                assert models[2].state == pb.MODEL_STATE_LOADED
                for name in ("a", "b", "c", "both", ""):
                    for _ in range(3):
                        await client.generate(request(model=name))
                        assert (await client.model(name)).name == name or not name
                assert [made.model for made in first.fake.requests] == ["a"] * 6
                assert [made.model for made in second.fake.requests] == ["b"] * 3 + ["c"] * 3 + ["both"] * 3

    async def test_lists_do_not_wait_for_a_replica_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The models of a replica that does not answer are those of its last check, so health checks do not wait."""
        monkeypatch.setattr(lookups, "LIST_PATIENCE", 0.2)
        monkeypatch.setattr(lookups, "LOOKUP_TIMEOUT", 3600)
        monkeypatch.setattr(replica, "LIST_INTERVAL", 3600)
        async with running_service() as first, running_service() as second:
            first.fake.models, second.fake.models = ["a"], ["b"]
            async with ServiceClient(Route(f"{first.address},{second.address}")) as client:
                await healthy(client, 2)
                for service in (second, first):
                    service.fake.hangs = True
                    models = await asyncio.wait_for(client.models(), PATIENCE)
                    assert [model.name for model in models] == ["a", "b"]

    async def test_a_full_queue_is_not_an_unknown_model(self) -> None:
        """If the only replica that has the model is full, the answer says so, whatever replicas without it say."""
        async with running_service() as first, running_service() as second:
            first.fake.models, second.fake.models = ["a"], ["b"]
            first.fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full", "QUEUE_FULL")
            second.fake.behave = Refusal(grpc.StatusCode.NOT_FOUND, "no model a", "MODEL_NOT_FOUND")
            async with ServiceClient(Route(f"{first.address},{second.address}")) as client:
                await healthy(client, 2)
                with pytest.raises(ServiceError, match="queue is full") as caught:
                    await client.generate(request(model="a"))
        assert caught.value.status == 429

    async def test_a_replica_that_was_never_seen_may_have_the_model(self) -> None:
        """While the models of a replica are not known, a model that the others lack is not called unknown."""
        async with running_service() as service:
            service.fake.behave = Refusal(grpc.StatusCode.NOT_FOUND, "no model a", "MODEL_NOT_FOUND")
            async with ServiceClient(Route(f"{service.address},127.0.0.1:1")) as client:
                await healthy(client, 1)
                with pytest.raises(ServiceError) as caught:
                    await client.generate(request(model="a"))
        assert (caught.value.status, caught.value.retry_after) == (503, 1)

    async def test_a_model_that_is_new_on_a_replica_is_found(self) -> None:
        """A model that no replica has is unknown; one that was just added to a replica is found."""
        async with running(3) as (services, client):
            for lookup in (client.model("new"), client.generate(request(model="nowhere"))):
                for service in services:
                    service.fake.behave = Refusal(grpc.StatusCode.NOT_FOUND, "no model", "MODEL_NOT_FOUND")
                with pytest.raises(ServiceError) as caught:
                    await lookup
                assert caught.value.status == 404
            assert sum(numbers(services)) == 1
            services[2].fake.reset_behaviour()
            services[2].fake.models.append("new")
            assert (await client.model("new")).name == "new"
            assert len((await client.generate(request(model="new"))).images) == 1


class TestNames:
    async def test_addresses_of_a_name_come_and_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new address gets requests; one that is gone gets no new ones, and its running request finishes."""
        monkeypatch.setattr(replicas, "LOOKUP_INTERVAL", 0.05)
        release = asyncio.Event()

        async def wait_for_release(*_: Any) -> Any:
            yield QUEUED
            await release.wait()
            yield image(0)
            yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

        async with running_service() as first, running_service() as second:
            addresses = [first.address]

            async def resolve(host: str, port: int) -> list[str]:
                assert (host, port) == ("images", 9)
                if not addresses:
                    raise OSError("the name server is down")
                return list(addresses)

            first.fake.behave = wait_for_release
            async with ServiceClient(Route("dns:///images:9"), resolve=resolve) as client:
                running_request = asyncio.create_task(client.generate(request()))
                await asyncio.wait_for(first.fake.started.wait(), PATIENCE)
                addresses[:] = [second.address]
                async with asyncio.timeout(PATIENCE):
                    while [state.address for state in client.replica_states()] != addresses:  # noqa: ASYNC110
                        await asyncio.sleep(0.01)
                addresses.clear()  # a failed lookup changes nothing
                await client.generate(request())
                release.set()
                assert len((await running_request).images) == 1
                await client.generate(request())
            assert numbers([first, second]) == [1, 2]

    @pytest.mark.parametrize("error", [StartError("cannot read --tls-ca"), UnicodeError("label empty or too long")])
    async def test_lookups_go_on_after_an_error(self, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name that can't be encoded, or certificates that can't be read now, do not end the lookups."""
        monkeypatch.setattr(replicas, "LOOKUP_INTERVAL", 0.01)
        errors = [error] * 3
        async with running_service() as service:

            async def resolve(*_: Any) -> list[str]:
                if errors:
                    raise errors.pop()
                return [service.address]

            async with ServiceClient(Route("dns:///images:9"), resolve=resolve) as client:
                await healthy(client, 1)
                assert len((await client.generate(request())).images) == 1

    async def test_an_unknown_name_is_reported(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without any address the reason is that the name is unknown; it is logged once, not at each lookup."""
        monkeypatch.setattr(replicas, "LOOKUP_INTERVAL", 0.01)
        lookups_made = asyncio.Semaphore(0)

        async def resolve(*_: Any) -> list[str]:
            lookups_made.release()
            raise OSError("unknown")

        async with ServiceClient(Route("dns:///nowhere:9"), resolve=resolve) as client:
            async with asyncio.timeout(PATIENCE):
                while "unknown" not in await client.health_problem():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                for _ in range(3):
                    await lookups_made.acquire()
        assert caplog.text.count("cannot look up nowhere") == 1


async def test_metrics_of_each_replica(tmp_path: Path) -> None:
    """Metrics name each replica with its health, its running requests and its repeated requests."""
    async with running_service() as first, running_service() as second:
        settings = config(first, tmp_path, grpc=f"{first.address},{second.address}")
        await second.health.set(NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
        async with running_gateway(settings) as client:
            text, wanted = "", f'replica_healthy{{replica="{first.address}"}} 1.0'
            async with asyncio.timeout(PATIENCE):
                while wanted not in text:
                    text = (await client.get("/metrics")).text
    assert f'tintype_gateway_replica_healthy{{replica="{second.address}"}} 0.0' in text
    assert f'tintype_gateway_replica_requests_in_flight{{replica="{first.address}"}} 0.0' in text
    assert f'tintype_gateway_replica_repeats_total{{replica="{first.address}"}} 0.0' in text


async def test_gateways_take_replicas_in_different_orders() -> None:
    """Idle replicas are taken in a random order at first, so that gateways that start together don't meet at each."""
    route = Route(",".join(f"127.0.0.1:{port}" for port in range(1, 21)))
    gateways = [replicas.Replicas(route) for _ in range(2)]
    orders = [[each.address for each in sorted(gateway.all, key=lambda one: one.last_use)] for gateway in gateways]
    assert orders[0] != orders[1]
    assert all(each.last_use < 1 for gateway in gateways for each in gateway.all)  # less than after any use
    for gateway in gateways:
        await gateway.close()
