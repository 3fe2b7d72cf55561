"""The server around the service: health, reflection, how it starts and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.service.startup import make_config, start_error
from tintype.service import server as servers
from tintype.service.engine.events import Progress
from tintype.service.models import ModelState, ModelStatus
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

pytestmark = pytest.mark.slow

SERVICE = "tintype.v1.ImageService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def becomes(channel: grpc.aio.Channel, wanted: Any, service: str = "") -> None:
    """Watch the health until it is `wanted`."""
    watch = health(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=10)
    async for response in watch:
        if response.status == wanted:
            break
    watch.cancel()


async def remaining(call: Any) -> list[Any]:
    """Return what a call still has to say."""
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_follows_the_models(running: Any, fake_repository: Any, service: str) -> None:
    """NOT_SERVING while the first model loads and when none is left, SERVING in between."""
    models = fake_repository()
    models.after_load = ModelStatus(ModelState.LOADING, 0.1)

    async def scenario() -> Any:
        async with running(repository=models) as here:
            request = health_pb2.HealthCheckRequest(service=service)
            loading = (await health(here.channel).Check(request)).status
            models.states["first"] = ModelStatus(ModelState.RESIDENT, 1.0)
            await becomes(here.channel, SERVING, service)
            models.states = {
                "first": ModelStatus(ModelState.FAILED, error="x"),
                "second": ModelStatus(ModelState.RESIDENT),
            }
            await asyncio.sleep(0.2)
            one_left = (await health(here.channel).Check(request)).status
            models.states["second"] = ModelStatus(ModelState.FAILED, error="y")
            await becomes(here.channel, NOT_SERVING, service)
            return loading, one_left

    assert asyncio.run(scenario()) == (NOT_SERVING, SERVING)


def test_health_lists_its_services(running: Any) -> None:
    """List knows the server as a whole and the service by name; Check refuses other names."""

    async def scenario() -> Any:
        async with running() as here:
            await becomes(here.channel, SERVING)
            listed = await health(here.channel).List(health_pb2.HealthListRequest())
            with pytest.raises(grpc.RpcError) as caught:
                await health(here.channel).Check(health_pb2.HealthCheckRequest(service="other"))
            return listed, caught.value.code()

    listed, code = asyncio.run(scenario())
    assert {name: check.status for name, check in listed.statuses.items()} == {"": SERVING, SERVICE: SERVING}
    assert code is grpc.StatusCode.NOT_FOUND


def test_reflection_tells_the_contract(running: Any) -> None:
    """A generic client finds the services and the file that describes ours."""
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE),
    ]

    async def scenario() -> Any:
        async with running() as here:
            stub = reflection_pb2_grpc.ServerReflectionStub(here.channel)
            return [answer async for answer in stub.ServerReflectionInfo(iter(requests))]

    listed, file = asyncio.run(scenario())
    names = {service.name for service in listed.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert pb.DESCRIPTOR.serialized_pb in file.file_descriptor_response.file_descriptor_proto


def test_draining_lets_running_requests_end(running: Any, fake_device: Any, make_request: Any) -> None:
    """Health turns first, new calls are refused, what runs ends well; who watches the health holds up nobody."""
    device = fake_device(lambda _: [Progress(0, 1, 2), 0.7, Progress(0, 2, 2)])

    async def scenario() -> Any:
        async with running(device) as here:
            call = here.stub.StreamImages(make_request())
            await call.read()
            watch = health(here.channel).Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            began = time.monotonic()
            draining = asyncio.create_task(here.server.drain(20))
            while (await watch.read()).status != NOT_SERVING:
                pass
            await asyncio.sleep(0.1)
            with pytest.raises(grpc.RpcError) as caught:
                await here.stub.ListModels(pb.ListModelsRequest())
            rest = await remaining(call)
            await draining
            return caught.value.code(), rest, time.monotonic() - began

    code, rest, took = asyncio.run(scenario())
    assert code is grpc.StatusCode.UNAVAILABLE
    assert [response.progress.step for response in rest] == [2]
    assert took < 10


def test_draining_ends_with_its_grace(
    running: Any, fake_device: Any, make_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What does not end in time is cancelled, and its job with it."""
    device = fake_device(lambda _: [Progress(0, 1, 2), 60.0])

    async def scenario() -> Any:
        async with running(device) as here:
            call = here.stub.StreamImages(make_request())
            await call.read()
            await here.server.drain(0.2)
            await asyncio.wait_for(device.stopped.wait(), 30)
            with pytest.raises(grpc.RpcError) as caught:
                await call.read()
            return caught.value.code()

    assert asyncio.run(scenario()) in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_leaving_the_block_ends_what_runs(running: Any, fake_device: Any, make_request: Any) -> None:
    """The in-process server does not wait for requests that nobody needs."""
    device = fake_device(lambda _: [Progress(0, 1, 2), 60.0])

    async def scenario() -> Any:
        async with running(device) as here:
            await here.stub.StreamImages(make_request()).read()
            began = time.monotonic()
        return time.monotonic() - began

    assert asyncio.run(scenario()) < 5
    assert device.stopped.is_set()


@pytest.mark.usefixtures("installed_fakes")
def test_running_gives_the_address() -> None:
    """With port 0 the system chooses, and the block gets to know what."""

    async def scenario() -> Any:
        async with servers.running(make_config()) as address, grpc.aio.insecure_channel(address) as channel:
            return await pb_grpc.ImageServiceStub(channel).ListModels(pb.ListModelsRequest())

    assert len(asyncio.run(scenario()).models) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends(installed_fakes: Any, number: signal.Signals, make_request: Any) -> None:
    """The first signal lets what runs end; serve() then returns."""
    _, device = installed_fakes
    device.script = lambda _: [Progress(0, 1, 2), 0.3, Progress(0, 2, 2)]

    async def scenario() -> Any:
        ready: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(servers.serve(make_config(), on_ready=ready.put_nowait))
        async with grpc.aio.insecure_channel(await ready.get()) as channel:
            call = pb_grpc.ImageServiceStub(channel).StreamImages(make_request())
            await call.read()
            os.kill(os.getpid(), number)
            rest = await remaining(call)
            await serving
            return rest

    assert len(asyncio.run(scenario())) == 1


@pytest.mark.usefixtures("installed_fakes")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_lame_duck(number: signal.Signals) -> None:
    """After SIGTERM and SIGHUP health says NOT_SERVING while calls are still accepted; then the port closes."""

    async def scenario() -> Any:
        ready: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(servers.serve(make_config(lame_duck=1.0), on_ready=ready.put_nowait))
        async with grpc.aio.insecure_channel(await ready.get()) as channel:
            await becomes(channel, SERVING)
            os.kill(os.getpid(), number)
            await becomes(channel, NOT_SERVING)
            stub = pb_grpc.ImageServiceStub(channel)
            listed = await stub.ListModels(pb.ListModelsRequest())
            await serving
            with pytest.raises(grpc.RpcError):
                await stub.ListModels(pb.ListModelsRequest())
            return len(listed.models)

    assert asyncio.run(scenario()) == 2


@pytest.mark.usefixtures("installed_fakes")
@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_no_lame_duck(numbers: list[signal.Signals]) -> None:
    """Ctrl-C, and a second signal, do not wait for load balancers."""

    async def scenario() -> None:
        ready: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(servers.serve(make_config(lame_duck=3600.0), on_ready=ready.put_nowait))
        await ready.get()
        for number in numbers:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.1)
        await asyncio.wait_for(serving, 30)

    asyncio.run(scenario())


def test_a_second_signal_ends_at_once(installed_fakes: Any, make_request: Any) -> None:
    """Who asks twice does not wait for the grace."""
    _, device = installed_fakes
    device.script = lambda _: [Progress(0, 1, 2), 60.0]

    async def scenario() -> Any:
        ready: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(servers.serve(make_config(grace=60), on_ready=ready.put_nowait))
        async with grpc.aio.insecure_channel(await ready.get()) as channel:
            await pb_grpc.ImageServiceStub(channel).StreamImages(make_request()).read()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.2)
            assert not serving.done()
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(serving, 10)

    asyncio.run(scenario())


@pytest.mark.usefixtures("installed_fakes")
def test_serve_ends_when_it_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With an event of the caller's, signals are left alone; where nothing runs, nothing is said of its grace."""
    caplog.set_level(logging.INFO)

    async def scenario() -> Any:
        stop = asyncio.Event()
        before = signal.getsignal(signal.SIGTERM)
        serving = asyncio.create_task(servers.serve(make_config(), on_ready=lambda _: stop.set(), stop=stop))
        await asyncio.wait_for(serving, 10)
        return before is signal.getsignal(signal.SIGTERM)

    assert asyncio.run(scenario())
    assert "draining" not in caplog.text


@pytest.mark.usefixtures("installed_fakes")
def test_run_serves_on_uvloop() -> None:
    """run() brings its own loop; SIGTERM from the ready callback ends it."""
    addresses = []

    def ready(address: str) -> None:
        addresses.append(address)
        os.kill(os.getpid(), signal.SIGTERM)

    servers.run(make_config(), on_ready=ready)
    assert addresses[0].startswith("127.0.0.1:")


@pytest.mark.usefixtures("installed_fakes")
def test_the_start_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line says where, which models, and on what they run."""
    caplog.set_level("INFO", "tintype")

    async def scenario() -> Any:
        async with servers.running(make_config()) as address:
            return address

    address = asyncio.run(scenario())
    assert f"serving gRPC on {address}: models first, second; provider cpu" in caplog.messages


def test_a_broken_default_model_is_told(installed_fakes: Any) -> None:
    """A server whose default model can't be loaded does not start, whatever other models it has."""
    models, _ = installed_fakes
    models.after_load = ModelStatus(ModelState.FAILED, error="model 'first' can't be served: unet is damaged")
    assert start_error(make_config()) == "model 'first' can't be served: unet is damaged"


def test_a_lonely_broken_model_is_told(installed_fakes: Any) -> None:
    """A server that can serve nothing at all does not pretend."""
    models, _ = installed_fakes
    models._specs = {"first": models._specs["first"]}
    models.after_load = ModelStatus(ModelState.FAILED, error="model 'first' can't be served: unet is missing")
    assert start_error(make_config()) == "model 'first' can't be served: unet is missing"


def test_keepalive_pings_are_permitted() -> None:
    """Clients may ping every 5 s, with calls and without; gRPC ends the connection of one that pings too often."""
    options = dict(servers.OPTIONS)
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < 5_000
    assert options["grpc.keepalive_permit_without_calls"] == 1


@pytest.mark.usefixtures("installed_fakes")
def test_wrong_settings_are_told() -> None:
    """A number that makes no sense is refused by its name."""
    assert start_error(make_config(queue=0)) == "--queue must be at least 1, not 0"
    assert start_error(make_config(threads=-1)) == "--threads must be at least 0; got -1"
    assert start_error(make_config(grace=-0.5)) == "--grace must be at least 0; got -0.5"
