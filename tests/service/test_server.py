"""The server: health, reflection, start, drain and signals."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.support.service.startup import make_config, start_error
from tintype.service import lifecycle
from tintype.service import server as servers
from tintype.service.engine.events import Progress
from tintype.service.models import ModelState, ModelStatus
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.limits import KEEPALIVE_OPTIONS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SERVICE = "tintype.v1.ImageService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health(channel: grpc.aio.Channel) -> Any:
    return health_pb2_grpc.HealthStub(channel)


async def wait_for_health(channel: grpc.aio.Channel, wanted: Any, service: str = "") -> None:
    """Watch the health until it is `wanted`."""
    watch = health(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=10)
    async for response in watch:
        if response.status == wanted:
            break
    watch.cancel()


async def remaining(call: Any) -> list[Any]:
    """Return the remaining responses of a call."""
    responses = []
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


@pytest.mark.parametrize(("after", "expected"), [(300.0, NOT_SERVING), (0.0, SERVING)])
def test_health_follows_the_device(running: Any, after: float, expected: int) -> None:
    """Health is NOT_SERVING while the device hangs, and SERVING again afterwards; 0 turns that off."""

    async def scenario() -> None:
        async with running(hang_after=after) as here:
            await wait_for_health(here.channel, SERVING)
            here.device.hung = True
            await asyncio.sleep(0.2)
            await wait_for_health(here.channel, expected)
            here.device.hung = False
            await wait_for_health(here.channel, SERVING)

    asyncio.run(scenario())


def test_connections_have_an_age(running: Any) -> None:
    """A client is asked to connect again after that time, and its calls go on."""

    async def scenario() -> int:
        async with running(connection_age=0.3) as here:
            await here.stub.ListModels(pb.ListModelsRequest())
            state = here.channel.get_state()
            assert state is grpc.ChannelConnectivity.READY
            await asyncio.wait_for(here.channel.wait_for_state_change(state), 60)
            return len((await here.stub.GenerateImages(pb.GenerateImagesRequest(prompt="x"))).images)

    assert asyncio.run(scenario()) == 1


@pytest.mark.parametrize("service", ["", SERVICE])
def test_health_follows_the_models(running: Any, fake_repository: Any, service: str) -> None:
    """Health is NOT_SERVING while the first model loads and if no model works, otherwise SERVING."""
    models = fake_repository()
    models.after_load = ModelStatus(ModelState.LOADING, 0.1)

    async def scenario() -> Any:
        async with running(repository=models) as here:
            request = health_pb2.HealthCheckRequest(service=service)
            loading = (await health(here.channel).Check(request)).status
            models.states["first"] = ModelStatus(ModelState.RESIDENT, 1.0)
            await wait_for_health(here.channel, SERVING, service)
            models.states = {
                "first": ModelStatus(ModelState.FAILED, error="x"),
                "second": ModelStatus(ModelState.RESIDENT),
            }
            await asyncio.sleep(0.2)
            one_left = (await health(here.channel).Check(request)).status
            models.states["second"] = ModelStatus(ModelState.FAILED, error="y")
            await wait_for_health(here.channel, NOT_SERVING, service)
            return loading, one_left

    assert asyncio.run(scenario()) == (NOT_SERVING, SERVING)


def test_health_of_services(running: Any) -> None:
    """List has the server as a whole and the service by name; Check refuses other names."""

    async def scenario() -> Any:
        async with running() as here:
            await wait_for_health(here.channel, SERVING)
            listed = await health(here.channel).List(health_pb2.HealthListRequest())
            with pytest.raises(grpc.RpcError) as caught:
                await health(here.channel).Check(health_pb2.HealthCheckRequest(service="other"))
            return listed, caught.value.code()

    listed, code = asyncio.run(scenario())
    assert {name: check.status for name, check in listed.statuses.items()} == {"": SERVING, SERVICE: SERVING}
    assert code is grpc.StatusCode.NOT_FOUND


def test_reflection_describes_the_contract(running: Any) -> None:
    """A generic client finds the services and the descriptor of the contract."""
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


def test_drain_finishes_running_requests(running: Any, fake_device: Any, make_request: Any) -> None:
    """Health changes first, new calls are refused, running calls finish; watchers of the health delay nothing."""
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


def test_drain_cancels_after_the_grace_period(
    running: Any, fake_device: Any, make_request: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that do not finish in the grace period are cancelled, with their jobs."""
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


def test_end_of_the_block_cancels_running_requests(running: Any, fake_device: Any, make_request: Any) -> None:
    """The in-process server does not wait for running requests at the end of its block."""
    device = fake_device(lambda _: [Progress(0, 1, 2), 60.0])

    async def scenario() -> Any:
        async with running(device) as here:
            await here.stub.StreamImages(make_request()).read()
            began = time.monotonic()
        return time.monotonic() - began

    assert asyncio.run(scenario()) < 5
    assert device.stopped.is_set()


@pytest.mark.usefixtures("installed_fakes")
def test_running_returns_the_address() -> None:
    """With port 0 the system chooses the port, and the block gets the address."""

    async def scenario() -> Any:
        async with servers.running(make_config()) as address, grpc.aio.insecure_channel(address) as channel:
            return await pb_grpc.ImageServiceStub(channel).ListModels(pb.ListModelsRequest())

    assert len(asyncio.run(scenario()).models) == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_the_server(installed_fakes: Any, number: signal.Signals, make_request: Any) -> None:
    """After the first signal running calls finish, and serve() returns."""
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
    """After SIGTERM and SIGHUP health is NOT_SERVING while calls are still accepted; then the port closes."""

    async def scenario() -> Any:
        ready: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(servers.serve(make_config(lame_duck=1.0), on_ready=ready.put_nowait))
        async with grpc.aio.insecure_channel(await ready.get()) as channel:
            await wait_for_health(channel, SERVING)
            os.kill(os.getpid(), number)
            await wait_for_health(channel, NOT_SERVING)
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
    """Ctrl-C and a second signal do not wait for load balancers."""

    async def scenario() -> None:
        ready: asyncio.Queue[str] = asyncio.Queue()
        serving = asyncio.create_task(servers.serve(make_config(lame_duck=3600.0), on_ready=ready.put_nowait))
        await ready.get()
        for number in numbers:
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.1)
        await asyncio.wait_for(serving, 30)

    asyncio.run(scenario())


def test_second_signal_stops_at_once(installed_fakes: Any, make_request: Any) -> None:
    """After a second signal the server does not wait for the grace period."""
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
def test_serve_with_a_stop_event(caplog: pytest.LogCaptureFixture) -> None:
    """With `stop`, serve() handles no signals; if no call runs, the log does not mention draining."""
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
def test_run_creates_its_event_loop() -> None:
    """run() creates its event loop; SIGTERM from the ready callback ends it."""
    addresses = []

    def ready(address: str) -> None:
        addresses.append(address)
        os.kill(os.getpid(), signal.SIGTERM)

    servers.run(make_config(), on_ready=ready)
    assert addresses[0].startswith("127.0.0.1:")


@pytest.mark.usefixtures("installed_fakes")
def test_start_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """One line has the address, the models and the provider."""
    caplog.set_level("INFO", "tintype")

    async def scenario() -> Any:
        async with servers.running(make_config()) as address:
            return address

    address = asyncio.run(scenario())
    assert f"serving gRPC on {address}: models first, second; provider cpu" in caplog.messages


def test_broken_default_model_prevents_the_start(installed_fakes: Any) -> None:
    """A server whose default model cannot be loaded does not start, even if another model could."""
    models, _ = installed_fakes
    models.after_load = ModelStatus(ModelState.FAILED, error="model 'first' can't be served: unet is damaged")
    assert start_error(make_config()) == "model 'first' can't be served: unet is damaged"


def test_broken_only_model_prevents_the_start(installed_fakes: Any) -> None:
    """A server whose only model cannot be loaded does not start."""
    models, _ = installed_fakes
    models._specs = {"first": models._specs["first"]}
    models.after_load = ModelStatus(ModelState.FAILED, error="model 'first' can't be served: unet is missing")
    assert start_error(make_config()) == "model 'first' can't be served: unet is missing"


def test_keepalive_pings_are_permitted() -> None:
    """Clients may ping every 5 s, with and without calls; gRPC disconnects clients that ping more often."""
    options = dict(lifecycle.OPTIONS)
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < 5_000
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < dict(KEEPALIVE_OPTIONS)["grpc.keepalive_time_ms"]
    assert options["grpc.keepalive_permit_without_calls"] == 1


@pytest.mark.usefixtures("installed_fakes")
def test_invalid_settings_are_refused() -> None:
    """The error for an invalid number names the setting."""
    assert start_error(make_config(queue=0)) == "--queue must be at least 1; got 0"
    assert start_error(make_config(threads=-1)) == "--threads must be at least 0; got -1"
    assert start_error(make_config(grace=-0.5)) == "--grace must be at least 0; got -0.5"


@pytest.mark.parametrize("name", ["vae", "text_encoders", "templates"])
@pytest.mark.usefixtures("installed_fakes")
def test_missing_paths_are_refused(tmp_path: Path, name: str) -> None:
    """A path that does not exist is refused, also if no model would read it."""
    settings: dict[str, Any] = {name: tmp_path / "nope"}
    error = start_error(make_config(**settings))
    assert error == f"--{name.replace('_', '-')} {tmp_path / 'nope'} can't be read: No such file or directory"
