"""The seven calls of ImageService over several devices.

- A request is sent to one device. If that device has no room for it, others are asked.
- If a device is lost, the images that are missing are made by another device, with the same seeds. The client notices
  only that steps are counted again.
- A request that has begun on two devices and lost both fails: it may be the reason.
- A request of which nothing has begun is passed on as often as necessary, up to MAX_TRIES times.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import REQUEST_ID
from tintype.v1.replicas.delivery import Delivery
from tintype.v1.replicas.union import merge, merge_lists
from tintype.v1.tracing import current_span

from ..errors import GenerationFailed, InvalidField, Unavailable
from ..rpc.calls import current_call
from ..rpc.collect import collect
from .failures import Failure, Interrupted, interruption
from .lookup import ModelLookup
from .placement import bytes_of, places_to_load, work_of
from .process import LOOKUP_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from google.protobuf.message import Message

    from .pool import Attempt, Device, DevicePool
    from .process import Connection

log = logging.getLogger(__name__)

MAX_LOSSES = 2  # of devices on which a request had begun
MAX_TRIES = 8  # losses in all
MAX_MOVES = 3  # to idle devices


class Tries:
    """The devices that a request was sent to in vain, and whether it may be sent again."""

    def __init__(self, pool: DevicePool, delivery: Delivery) -> None:
        self._pool = pool
        self._delivery = delivery
        self._refusal: Exception | None = None
        self._lost: list[str] = []
        self._count = 0
        self._moves = 0
        self._failed: dict[Device, Connection | None] = {}  # devices, with the connection that failed

    @property
    def may_move(self) -> bool:
        """Whether an idle device may take over the request while it waits."""
        return self._moves < MAX_MOVES

    @property
    def excluded(self) -> frozenset[Device]:
        """The devices that are not asked again; a lost one is, once it has a new process."""
        return frozenset(device for device, failed in self._failed.items() if device.connection in (failed, None))

    def choose(self, model: pb.Model) -> Device:
        """Return the next device. Raises the refusal of the first one, or Unavailable, if there is none."""
        try:
            return self._pool.choose(model, self.excluded)
        except Unavailable:
            if self._refusal:
                raise self._refusal from None
            raise

    def add(self, attempt: Attempt, interruption: Interrupted) -> None:
        """Record that a device did not finish the request. Raises an error if it must not be sent again."""
        device = attempt.device
        match interruption.failure:
            case Failure.FINAL:
                raise interruption.error
            case Failure.MOVED:
                self._moves += 1
            case Failure.REFUSED:
                self._failed[device] = attempt.connection
                self._refusal = self._refusal or interruption.error
            case Failure.PROCESS_LOST:
                self._add_loss(attempt, interruption.problem)
            case Failure.DEVICE_LOST:
                self._pool.drop(device, interruption.problem, attempt.connection)
                self._add_loss(attempt, interruption.problem)

    def _add_loss(self, attempt: Attempt, problem: str) -> None:
        device, call = attempt.device, current_call()
        attempt.lost = True
        log.warning("id=%s: device %s is lost (%s)", call.id if call else "-", device.name, problem)
        self._failed[device] = attempt.connection
        self._count += 1
        if not self._delivery.waiting:
            self._lost.append(device.name)
        if len(self._lost) >= MAX_LOSSES or self._count >= MAX_TRIES:
            devices = " and of ".join(f"device {name}" for name in self._lost) or "several devices"
            raise GenerationFailed(f"the loss of {devices} interrupted this request; it is not tried again")


class DeviceApi:
    """The calls of ImageService, forwarded to the processes of a pool."""

    def __init__(self, pool: DevicePool) -> None:
        self._pool, self._lookup = pool, ModelLookup(pool)

    @property
    def default(self) -> str:
        """Name of the model for requests that name none."""
        return self._pool.default

    async def generate(
        self, request: pb.GenerateImagesRequest, *, caller: str = "", deadline: float | None = None
    ) -> pb.GenerateImagesResponse:
        """Generate images and return one response. Arguments and errors as in `stream`."""
        stream_request = pb.StreamImagesRequest(generation=request, omit_progress=True)
        return await collect(self.stream(stream_request, caller=caller, deadline=deadline))

    async def stream(
        self, request: pb.StreamImagesRequest, *, caller: str = "", deadline: float | None = None
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Generate images and yield each event; closing the generator cancels the rest.

        `caller` applies if the request names none; `deadline` is a time of `time.monotonic`, in seconds.

        Raises:
            ModelNotFound: no model has this name.
            GenerationFailed: two devices were lost during the request.
            Unavailable: no device is left.
            ForwardedError: the error of the device.
        """
        arrived = time.monotonic()
        model = await self._lookup.find(request.generation.model)
        request.generation.caller = request.generation.caller or caller
        delivery = Delivery(request)
        tries = Tries(self._pool, delivery)
        while not delivery.is_complete:
            device = tries.choose(model)
            call_request = delivery.request(time.monotonic() - arrived)
            work = work_of(call_request.generation, model)
            with self._pool.working(device, model.name, work, request.generation.priority, delivery) as attempt:
                attempt.may_move, attempt.excluded = tries.may_move, tries.excluded
                try:
                    await _list_adapters_again(device, model.name)
                    async with aclosing(_responses(attempt, call_request, deadline)) as responses:
                        async for response in responses:
                            yield response
                except Interrupted as interruption:
                    tries.add(attempt, interruption)
                else:
                    return
        yield delivery.completed(model.name)

    async def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """List the models of all devices, the default first. Raises Unavailable."""
        return merge_lists(await self._each(self._devices(), "ListModels", request, LOOKUP_TIMEOUT))

    async def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """Describe a model. Raises ModelNotFound, ForwardedError, Unavailable."""
        await self._lookup.find(request.model)
        return pb.GetModelResponse(model=await self._merged(request.model))

    async def load_model(self, request: pb.LoadModelRequest) -> pb.LoadModelResponse:
        """Load a model on the devices that have it or where it fits. Raises as `get_model`."""
        model = await self._lookup.find(request.model)
        devices = {device.name: device for device in self._devices()}
        views = places_to_load(model.name, bytes_of(model), [device.view() for device in devices.values()])
        chosen = [devices[view.name] for view in views]
        for device in self._pool.devices:
            (device.stale.discard if device in chosen else device.stale.add)(model.name)
        await self._each(chosen, "LoadModel", request, None)
        return pb.LoadModelResponse(model=await self._merged(request.model))

    async def unload_model(self, request: pb.UnloadModelRequest) -> pb.UnloadModelResponse:
        """Evict a model from the memory of all devices. Raises InvalidField, and as `get_model`."""
        if not request.model:
            raise InvalidField("model", "must not be empty")
        await self._lookup.find(request.model)
        await self._each(self._devices(), "UnloadModel", request, None)
        return pb.UnloadModelResponse(model=await self._merged(request.model))

    async def upscale(self, request: pb.UpscaleImageRequest) -> pb.UpscaleImageResponse:
        """Enlarge an image in the process of the device with the fewest requests. Raises as `get_model`."""
        failure: Interrupted | None = None
        for device in sorted(self._devices(), key=lambda device: len(device.running)):
            try:
                response: pb.UpscaleImageResponse = await _call(device, "UpscaleImage", request, None)
            except Interrupted as interruption:
                failure = interruption
                if interruption.failure is Failure.FINAL:
                    break
            else:
                return response
        raise failure.error if failure else Unavailable("no device is left")

    async def _merged(self, name: str) -> pb.Model:
        request = pb.GetModelRequest(model=name)
        found = await self._each(self._devices(), "GetModel", request, LOOKUP_TIMEOUT)
        return merge({device: response.model for device, response in found.items()})

    def _devices(self) -> list[Device]:
        """Return the devices that answer calls. Raises Unavailable."""
        return self._pool.answering() or [self._pool.choose(self._pool.model(""))]

    async def _each(
        self,
        devices: Sequence[Device],
        method: str,
        request: Message,
        timeout: float | None,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        """Return the responses of several devices by name, without those that failed. Raises if all failed."""
        calls = [_call(device, method, request, timeout) for device in devices]
        results = await asyncio.gather(*calls, return_exceptions=True)
        found = {device.name: result for device, result in zip(devices, results, strict=True)}
        failed = [result for result in results if isinstance(result, BaseException)]
        if len(failed) == len(results):
            raise failed[0].error if isinstance(failed[0], Interrupted) else failed[0]
        for name, result in found.items():
            if isinstance(result, BaseException):
                log.warning("device %s: %s failed: %s", name, method, result)
        return {name: result for name, result in found.items() if not isinstance(result, BaseException)}


async def _list_adapters_again(device: Device, model: str) -> None:
    """Make a device list a model's adapters again, if LoadModel has asked only others for it. Raises Interrupted."""
    if model in device.stale:
        device.stale.discard(model)
        await _call(device, "LoadModel", pb.LoadModelRequest(model=model, no_wait=True), LOOKUP_TIMEOUT)


async def _responses(
    attempt: Attempt, request: pb.StreamImagesRequest, deadline: float | None
) -> AsyncGenerator[pb.StreamImagesResponse]:
    """Send a request to the device of `attempt` and yield its responses. Raises Interrupted, or the final error."""
    timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
    call = _connection(attempt.device).images.StreamImages(request, timeout=timeout, metadata=_metadata(attempt.device))
    attempt.cancel = call.cancel
    try:
        async for response in call:
            accepted = attempt.delivery.accept(response)
            if accepted is not None:
                yield accepted
    except grpc.aio.AioRpcError as error:
        raise interruption(error) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task and task.cancelling():
            raise
        failure = Failure.MOVED if attempt.moved else Failure.PROCESS_LOST
        lost = Unavailable("the device that worked on this call was lost", retry_after=5.0)
        raise Interrupted(failure, "its connection was closed", lost) from error
    finally:
        call.cancel()


def _metadata(device: Device) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call, with the id of the client's call; add the device to its record."""
    call, key = current_call(), device.connection.metadata if device.connection else ()
    if call is None:
        return key
    call.device = ",".join(dict.fromkeys((*filter(None, call.device.split(",")), device.name)))
    log.debug("id=%s goes to device %s", call.id, device.name)
    return (REQUEST_ID, call.id), *current_span().headers(), *key


async def _call(device: Device, method: str, request: Message, timeout: float | None) -> Any:  # noqa: ASYNC109
    """Call a method of a device's process. Raises Interrupted."""
    try:
        return await getattr(_connection(device).images, method)(request, timeout=timeout, metadata=_metadata(device))
    except grpc.aio.AioRpcError as error:
        raise interruption(error) from error


def _connection(device: Device) -> Connection:
    """Return the connection to a device's process. Raises Interrupted."""
    if device.connection is None:
        error = Unavailable(f"device {device.name}: {device.problem}", retry_after=5.0)
        raise Interrupted(Failure.PROCESS_LOST, device.problem, error)
    return device.connection
