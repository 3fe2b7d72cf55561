"""Devices without processes: each plays a script for every request that it gets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from tintype.service.config import ServiceConfig
from tintype.service.devices.inventory import DeviceSpec
from tintype.service.devices.pool import Device, DevicePool, State
from tintype.service.rpc.status import to_status
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

STEPS = 2


def queued(position: int) -> pb.StreamImagesResponse:
    return pb.StreamImagesResponse(queued=pb.Queued(position=position))


def images(request: pb.StreamImagesRequest) -> Iterator[pb.StreamImagesResponse]:
    """Yield the events of all images of a request, the first image first; `data` is the seed."""
    count = max(1, request.generation.count)
    for index in range(count):
        for step in range(1, STEPS + 1):
            yield pb.StreamImagesResponse(progress=pb.Progress(index=index, step=step, steps=STEPS))
        seed = request.generation.seed + index
        yield pb.StreamImagesResponse(image=pb.Image(index=index, seed=seed, data=str(seed).encode()))
    yield pb.StreamImagesResponse(completed=pb.Completed(model="a", usage=pb.Usage(images=count, steps=STEPS * count)))


def call_error(error: Exception) -> grpc.aio.AioRpcError:
    """Return the error that a client gets if the service raises `error`."""
    status = to_status(error)
    trailing = grpc.aio.Metadata(*status.trailing)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.message)


def connection_lost() -> grpc.aio.AioRpcError:
    """Return the error of a call whose process was killed."""
    empty = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, empty, empty, "Socket closed")


class FakeCall:
    """A call that plays items: responses, errors, and events to wait for."""

    def __init__(self, script: Iterable[Any]) -> None:
        self._script = script
        self._task: asyncio.Task[Any] | None = None
        self.cancelled = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[pb.StreamImagesResponse]:
        for item in self._script:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, asyncio.Event):
                waits = {asyncio.ensure_future(each.wait()) for each in (item, self.cancelled)}
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for each in waits:
                        each.cancel()
                if self.cancelled.is_set():
                    raise asyncio.CancelledError
            else:
                yield item

    def cancel(self) -> None:
        self.cancelled.set()


@dataclass
class FakeImages:
    """The stub of one device. `script` plays each request; `calls` are the requests with their timeouts."""

    models: list[pb.Model]
    script: Callable[[pb.StreamImagesRequest], Iterable[Any]] = images
    requests: list[pb.StreamImagesRequest] = field(default_factory=list)
    timeouts: list[float | None] = field(default_factory=list)
    metadata: list[Any] = field(default_factory=list)
    started: list[FakeCall] = field(default_factory=list)
    other_calls: list[tuple[str, str]] = field(default_factory=list)

    def StreamImages(self, request: pb.StreamImagesRequest, *, timeout: float | None, metadata: Any) -> FakeCall:  # noqa: N802
        assert dict(metadata)["authorization"]
        self.requests.append(request)
        self.metadata.append(metadata)
        self.timeouts.append(timeout)
        self.started.append(FakeCall(self.script(request)))
        return self.started[-1]

    def __getattr__(self, method: str) -> Any:
        async def call(request: Any, **_: Any) -> Any:
            self.other_calls.append((method, getattr(request, "model", "")))
            if method == "ListModels":
                return pb.ListModelsResponse(models=self.models)
            if method == "UpscaleImage":
                return pb.UpscaleImageResponse()
            name = request.model or self.models[0].name
            model = next(model for model in self.models if model.name == name)
            if method in ("LoadModel", "UnloadModel"):
                loads = method == "LoadModel"
                model.state = pb.MODEL_STATE_LOADED if loads else pb.MODEL_STATE_UNLOADED
            return getattr(pb, f"{method}Response")(model=model)

        return call


class FakeConnection:
    """A connection to a device without a process."""

    def __init__(self, images_: FakeImages) -> None:
        self.images = images_
        self.metadata = (("authorization", "Bearer x"),)

    async def list_models(self) -> pb.ListModelsResponse:
        response: pb.ListModelsResponse = await self.images.ListModels(pb.ListModelsRequest())
        return response


class FakeDevices:
    """A pool of devices whose processes are fakes; all have the models `a`, the default, and `b`."""

    def __init__(self, count: int = 2, memory: int = 0) -> None:
        self.pool = DevicePool(
            ServiceConfig(devices=str(count), memory=memory), [DeviceSpec(str(each)) for each in range(count)]
        )
        self.stubs: list[FakeImages] = []
        self.dropped: list[str] = []
        self.pool.drop = self._drop  # type: ignore[method-assign]
        for device in self.pool.devices:
            models = [
                pb.Model(name="a", is_default=True, weights_bytes=10, state=pb.MODEL_STATE_LOADED),
                pb.Model(name="b", weights_bytes=10, state=pb.MODEL_STATE_UNLOADED),
            ]
            self.stubs.append(FakeImages(models))
            connection: Any = FakeConnection(self.stubs[-1])
            device.connection, device.state, device.problem = connection, State.SERVING, ""
            device.models = self.pool.models = {model.name: model for model in models}

    def _drop(self, device: Device, problem: str, connection: object) -> None:  # noqa: ARG002 - of the process that is dropped
        self.dropped.append(device.name)
        self.end(device, problem)

    def end(self, device: Device, problem: str = "its process was ended by SIGKILL") -> None:
        """Do what the pool does when a process ends."""
        device.connection, device.state, device.problem = None, State.ENDED, problem
