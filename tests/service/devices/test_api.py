"""Calls over several devices: which device gets a request, and what happens if it is lost, full, or busy."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.service.devices import FakeDevices, call_error, connection_lost, images, queued
from tintype.service.devices.api import DeviceApi, Tries
from tintype.service.devices.failures import Failure, Interrupted
from tintype.service.errors import (
    GenerationFailed,
    InvalidField,
    ModelNotFound,
    QueueFull,
    TintypeError,
    Unavailable,
)
from tintype.service.rpc.calls import begin_call
from tintype.service.rpc.status import ForwardedError, to_status
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.replicas.delivery import Delivery
from tintype.v1.tracing import Tracer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

Script = Any


def cut(*lengths: int) -> Script:
    """Return a script that sends so many events of its first, second, ... request, and then loses the connection."""
    left = list(lengths)

    def script(request: pb.StreamImagesRequest) -> Iterator[Any]:
        length = left.pop(0) if left else 1000
        for number, event in enumerate(images(request)):
            if number >= length:
                yield connection_lost()
            yield event

    return script


def failing(error: Exception) -> Script:
    return lambda _: [error]


def request(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**{"prompt": "a lake", "seed": 7, **fields})


def run(scenario: Callable[[FakeDevices, DeviceApi], Coroutine[Any, Any, Any]], count: int = 2, memory: int = 0) -> Any:
    async def main() -> Any:
        fakes = FakeDevices(count, memory)
        return await asyncio.wait_for(scenario(fakes, DeviceApi(fakes.pool)), 20)

    return asyncio.run(main())


def test_a_lost_device_is_replaced() -> None:
    """The other device makes only the missing images, with their seeds and the time that is left."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.stubs[0].script = cut(4)  # two steps, the first image, one step of the second
        wanted = request(count=3)
        wanted.timeout.FromSeconds(100)
        response = await api.generate(wanted, caller="ipv4:1", deadline=time.monotonic() + 50)
        return fakes, response

    fakes, response = run(scenario)
    assert [(image.index, image.data) for image in response.images] == [(0, b"7"), (1, b"8"), (2, b"9")]
    assert (response.usage.images, response.usage.steps) == (3, 6)
    (first,), (second,) = (stub.requests for stub in fakes.stubs)
    assert (first.generation.count, first.generation.seed, first.generation.caller) == (3, 7, "ipv4:1")
    assert (second.generation.count, second.generation.seed, second.generation.caller) == (2, 8, "ipv4:1")
    assert second.generation.timeout.ToNanoseconds() < 100e9
    assert 0 < fakes.stubs[1].timeouts[0] <= fakes.stubs[0].timeouts[0] <= 50


def test_a_request_without_seed_keeps_its_images() -> None:
    """The front draws the seed, so the device that replaces another one makes the same image."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.stubs[0].script = cut(1)
        await api.generate(pb.GenerateImagesRequest(prompt="x"))
        return [stub.requests[0].generation.seed for stub in fakes.stubs]

    first, second = run(scenario)
    assert first == second > 0


def test_a_device_that_is_lost_after_the_last_image() -> None:
    """The request is complete without its summary: no device makes anything again."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.stubs[0].script = cut(3)
        return await api.generate(request()), fakes.stubs[1].requests

    response, again = run(scenario)
    assert (len(response.images), response.model, response.usage.images) == (1, "a", 1)
    assert again == []


def test_a_request_that_loses_two_devices_fails() -> None:
    """A third device is not asked: the request may be the reason. The error can't be taken for one to retry."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        for stub in fakes.stubs:
            stub.script = cut(1)
        with pytest.raises(GenerationFailed, match=r"^the loss of device 0 and of device 1 interrupted this request"):
            await api.generate(request())
        return [len(stub.requests) for stub in fakes.stubs]

    assert run(scenario, count=3) == [1, 1, 0]


def test_a_waiting_request_is_passed_on() -> None:
    """The loss of a device on which other requests ran first is not the fault of a waiting request."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        for stub in fakes.stubs[:3]:
            stub.script = lambda _: [queued(2), connection_lost()]
        return await api.generate(request()), [len(stub.requests) for stub in fakes.stubs]

    response, calls = run(scenario, count=4)
    assert len(response.images) == 1
    assert calls == [1, 1, 1, 1]


def test_a_lost_gpu_ends_its_process() -> None:
    """An error that says that the device is lost ends its process, and the client gets its images."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        error = GenerationFailed("unet failed: CUDA failure 700: an illegal memory access was encountered")
        fakes.stubs[0].script = failing(call_error(error))
        return await api.generate(request()), fakes.dropped

    response, dropped = run(scenario)
    assert (len(response.images), dropped) == (1, ["0"])


def test_a_full_queue_is_passed_by() -> None:
    """Another device is asked if the queue of one is full. If all are full, the client gets the first one's error."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        full = QueueFull("64 requests wait", retry_after=3.0)
        fakes.stubs[0].script = failing(call_error(full))
        done = await api.generate(request())
        fakes.stubs[1].script = failing(call_error(QueueFull("other")))
        with pytest.raises(ForwardedError) as caught:
            await api.generate(request())
        return done, to_status(caught.value), full, fakes.dropped

    done, status, full, dropped = run(scenario)
    assert len(done.images) == 1
    assert status == to_status(full)
    assert dropped == []


@pytest.mark.parametrize("error", [InvalidField("steps", "must be 1 to 150, not 900"), GenerationFailed("all black")])
def test_other_errors_pass_unchanged(error: TintypeError) -> None:
    """The client gets the device's own error with its details, and no other device is asked."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.stubs[0].script = failing(call_error(error))
        with pytest.raises(ForwardedError) as caught:
            await api.generate(request())
        return to_status(caught.value), fakes.stubs[1].requests

    assert run(scenario) == (to_status(error), [])


def test_no_device_is_left() -> None:
    """The error names each device and what happened to it; it is UNAVAILABLE, with a time to retry."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        for device in fakes.pool.devices:
            fakes.end(device)
        with pytest.raises(Unavailable) as caught:
            await api.generate(request())
        with pytest.raises(Unavailable, match="no device"):
            await api.list_models(pb.ListModelsRequest())
        return caught.value

    error = run(scenario)
    assert str(error) == (
        "no device can take the request now (device 0: its process was ended by SIGKILL; "
        "device 1: its process was ended by SIGKILL)"
    )
    assert error.retry_after > 0


def test_an_unknown_model() -> None:
    """No device is asked for a model that none has; the error lists the existing ones."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        with pytest.raises(ModelNotFound, match="there is no model 'c'; there are: a, b"):
            await api.generate(request(model="c"))
        return [stub.requests for stub in fakes.stubs]

    assert run(scenario) == [[], []]


def test_requests_spread_over_the_devices() -> None:
    """Requests that run at the same time go to the device with the least work."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        done = asyncio.Event()
        for stub in fakes.stubs:
            stub.script = lambda asked: [done, *images(asked)]
        calls = [asyncio.create_task(api.generate(request())) for _ in range(6)]
        await asyncio.sleep(0)
        done.set()
        await asyncio.gather(*calls)
        return [len(stub.requests) for stub in fakes.stubs]

    assert run(scenario) == [3, 3]


def test_a_silent_device_is_avoided() -> None:
    """A device that has not answered its last health check gets no request while another one answers."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.pool.devices[0].is_answering = False
        await asyncio.gather(*(api.generate(request()) for _ in range(3)))
        listed = await api.list_models(pb.ListModelsRequest())
        fakes.end(fakes.pool.devices[1])
        await api.generate(request())
        return [len(stub.requests) for stub in fakes.stubs], list(listed.models[0].devices)

    assert run(scenario) == ([1, 3], ["1"])


def test_a_request_moves_a_few_times() -> None:
    """A request that always meets other requests is moved a limited number of times, and does not fail for it."""

    async def scenario(fakes: FakeDevices, _api: DeviceApi) -> Any:
        delivery = Delivery(pb.StreamImagesRequest(generation=request()))
        tries = Tries(fakes.pool, delivery)
        moved = Interrupted(Failure.MOVED, "", Unavailable(""))
        may_move = []
        for _ in range(20):
            may_move.append(tries.may_move)
            with fakes.pool.working(tries.choose(fakes.pool.model("")), "a", 1.0, 0, delivery) as attempt:
                tries.add(attempt, moved)
        return may_move

    may_move = run(scenario)
    assert may_move[0]
    assert not may_move[-1]


def test_a_lost_device_is_asked_again_once_it_has_a_new_process() -> None:
    """A request excludes the process that it lost, not the device."""

    async def scenario(fakes: FakeDevices, _api: DeviceApi) -> Any:
        delivery, (device, _) = Delivery(pb.StreamImagesRequest(generation=request())), fakes.pool.devices
        tries = Tries(fakes.pool, delivery)
        with fakes.pool.working(device, "a", 1.0, 0, delivery) as attempt:
            tries.add(attempt, Interrupted(Failure.PROCESS_LOST, "", Unavailable("")))
        lost = device in tries.excluded
        fresh: Any = type(device.connection)
        device.connection = None
        restarting = device in tries.excluded
        device.connection = fresh(fakes.stubs[0])
        return lost, restarting, device in tries.excluded

    assert run(scenario) == (True, True, False)


def test_a_device_does_not_take_over_what_it_has_refused() -> None:
    """A waiting request stays where it is, if an idle device has no room for it; so it is not sent to and fro."""

    async def scenario(fakes: FakeDevices, _api: DeviceApi) -> Any:
        delivery, (busy, idle) = Delivery(pb.StreamImagesRequest(generation=request())), fakes.pool.devices
        delivery.waiting = True
        other = Delivery(pb.StreamImagesRequest(generation=request()))
        with (
            fakes.pool.working(busy, "a", 1.0, 0, other),
            fakes.pool.working(busy, "a", 1.0, 0, delivery) as attempt,
        ):
            attempt.excluded = (idle,)
            fakes.pool._move_waiting(idle)
            refused, attempt.excluded = attempt.moved, ()
            fakes.pool._move_waiting(idle)
            return refused, attempt.moved

    assert run(scenario) == (False, True)


def test_an_idle_device_takes_over() -> None:
    """A request that waits on a busy device moves to one that has finished its own, and its client sees no error."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        slow, quick = asyncio.Event(), asyncio.Event()
        first, second = fakes.stubs
        first.script = lambda asked: [queued(len(first.requests) - 1), slow, *images(asked)]
        second.script = lambda asked: [quick, *images(asked)]
        calls = [asyncio.create_task(api.generate(request(seed=seed))) for seed in (1, 2, 3)]
        await asyncio.sleep(0.05)
        second.script = images
        quick.set()
        waited = await calls[2]
        moved = first.started[1].cancelled.is_set()
        slow.set()
        await asyncio.gather(*calls)
        return waited, moved, [each.generation.seed for each in second.requests]

    waited, moved, seeds = run(scenario)
    assert [image.seed for image in waited.images] == [3]
    assert moved
    assert seeds == [2, 3]


def test_closing_cancels_the_call() -> None:
    """A client that goes away ends the call to the device at once, and the device counts no work of it."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.stubs[0].script = lambda asked: [*list(images(asked))[:1], asyncio.Event()]
        stream = api.stream(pb.StreamImagesRequest(generation=request()))
        async with aclosing(stream) as responses:
            await anext(responses)
            busy = len(fakes.pool.devices[0].running)
        return busy, fakes.stubs[0].started[0].cancelled.is_set(), fakes.pool.devices[0].running

    assert run(scenario) == (1, True, {})


def test_cancelling_is_not_a_loss() -> None:
    """A cancelled task ends with CancelledError, and no other device gets its request."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.stubs[0].script = lambda _: [asyncio.Event()]
        task = asyncio.create_task(api.generate(request()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return fakes.stubs[0].started[0].cancelled.is_set(), fakes.stubs[1].requests

    assert run(scenario) == (True, [])


def test_models_are_placed_by_memory() -> None:
    """LoadModel loads where a model fits, the list names its devices, requests go there, and UnloadModel frees all."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.pool.devices[0].memory = 15  # it has 10 bytes of model a, so b, which has 10, fits only on the other
        loaded = (await api.load_model(pb.LoadModelRequest(model="b"))).model
        await asyncio.gather(*(api.generate(request(model="b")) for _ in range(2)))
        places = [[each.generation.model for each in stub.requests] for stub in fakes.stubs]
        listed = {model.name: list(model.devices) for model in (await api.list_models(pb.ListModelsRequest())).models}
        unloaded = (await api.unload_model(pb.UnloadModelRequest(model="b"))).model
        return list(loaded.devices), places, listed, list(unloaded.devices)

    assert run(scenario, memory=20) == (["1"], [[], ["b", "b"]], {"a": ["0", "1"], "b": ["1"]}, [])


def test_an_image_is_enlarged_by_an_idle_device() -> None:
    """UpscaleImage goes to the device with the fewest requests, and to another one if that is lost."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        request_ = pb.UpscaleImageRequest(image=b"x")
        fakes.pool.devices[0].running[1] = None  # type: ignore[assignment]
        await api.upscale(request_)
        fakes.end(fakes.pool.devices[1])
        await api.upscale(request_)
        return [[call for call, _ in stub.other_calls if call == "UpscaleImage"] for stub in fakes.stubs]

    assert run(scenario) == [["UpscaleImage"]] * 2


def test_adapters_are_listed_again() -> None:
    """A device that LoadModel did not reach lists the model's adapters before its next request."""

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> Any:
        fakes.pool.devices[0].memory = 15
        await api.load_model(pb.LoadModelRequest(model="b"))
        fakes.end(fakes.pool.devices[1])
        for _ in range(2):
            await api.generate(request(model="b"))
        return [call for call in fakes.stubs[0].other_calls if call[0] == "LoadModel"]

    assert run(scenario, memory=20) == [("LoadModel", "b")]


def test_devices_continue_the_trace() -> None:
    """The device's process gets the trace of the call, so that its spans belong to it."""
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    async def scenario(fakes: FakeDevices, api: DeviceApi) -> list[str]:
        with Tracer().server("call", {"traceparent": parent}):
            begin_call(request(), "req_1")
            await api.generate(request())
        return [dict(each).get("traceparent", "") for stub in fakes.stubs for each in stub.metadata]

    assert run(scenario) == [parent]
