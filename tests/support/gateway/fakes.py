"""A gateway on a real socket, connected to a fake gRPC service that tests control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast

import grpc
import httpx
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from PIL import Image

from tintype.gateway.config import GatewayConfig
from tintype.gateway.server import serve
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from pathlib import Path

PATH = "/v1/images/generations"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(64))
SMALLEST_PNG = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
QUEUED = pb.StreamImagesResponse(queued=pb.Queued(position=0))
OPTIONS = [("grpc.max_receive_message_length", 64 * 2**20)]  # as in the service
# What models take, by name. A test that needs one names it; the list of models has it only if the test says so.
USUAL_CAPABILITIES = {"text_to_image": True, "image_to_image": True, "inpainting": True, "clip_layer": 1}
CAPABILITIES: dict[str, dict[str, Any]] = {
    "editor": {"max_references": 3, "requires_references": True},
    "both": {"max_references": 2, "text_to_image": True, "image_to_image": True, "inpainting": True},
    "guided": {
        "text_to_image": True,
        "image_to_image": True,
        "controls": ["canny", "depth"],
        "control_modes": {"depth": 10},
        "guidance": "embedded",
        "image_adapters": ["ip-adapter"],
        "clip_layer": 1,
    },
}
Behaviour = Callable[[pb.GenerateImagesRequest, Any], AsyncIterator[pb.StreamImagesResponse]]


def image(index: int = 0, **fields: Any) -> pb.StreamImagesResponse:
    """Return the event of a finished image, whose bytes end in its index."""
    defaults: dict[str, Any] = {
        "seed": 100 + index,
        "data": PNG + bytes([index]),
        "mime_type": "image/png",
        "width": 64,
        "height": 64,
    }
    return pb.StreamImagesResponse(image=pb.Image(index=index, **(defaults | fields)))


async def make_images(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Answer at once, with the images in reverse order, as they may finish."""
    yield QUEUED
    for index in reversed(range(request.count or 1)):
        yield image(index, mime_type=request.output.mime_type)
    usage = pb.Usage(images=request.count or 1, steps=20, prompt_tokens=7)
    yield pb.StreamImagesResponse(completed=pb.Completed(model=request.model or "tiny", usage=usage))


def pack_detail(detail: Any) -> Packed:
    """Return a detail as google.rpc.Status holds it."""
    holder = Packed()
    holder.Pack(detail)
    return holder


@dataclass
class Refusal:
    """An error of the service: with ErrorInfo if `reason` is set, violations, and a retry delay in seconds."""

    code: grpc.StatusCode
    message: str = "refused"
    reason: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)
    delay: float | None = None

    @property
    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The trailing metadata with the details."""
        details = []
        if self.reason:
            details.append(
                pack_detail(error_details_pb2.ErrorInfo(reason=self.reason, domain="tintype", metadata=self.facts))
            )
        if self.violations:
            field_violation = error_details_pb2.BadRequest.FieldViolation
            field_violations = [field_violation(field=name, description=problem) for name, problem in self.violations]
            details.append(pack_detail(error_details_pb2.BadRequest(field_violations=field_violations)))
        if self.delay is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(round(self.delay * 1000))
            details.append(pack_detail(retry))
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=details)
        return (("grpc-status-details-bin", status.SerializeToString()),) if details else ()

    async def __call__(self, _: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        """Fail with this error; usable as a behaviour of the fake service."""
        context.set_trailing_metadata(self.trailers)
        await context.abort(self.code, self.message)
        yield pb.StreamImagesResponse()


class FakeService(pb_grpc.ImageServiceServicer):
    """A service that runs `behave` for each request and records the requests."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Clear all records and answer normally again."""
        self.after: Behaviour = make_images  # what `reset_behaviour` restores
        self.reset_behaviour()
        self.requests: list[pb.GenerateImagesRequest] = []
        self.previews: list[pb.Previews] = []
        self.with_progress: list[bool] = []
        self.metadata: list[dict[str, str]] = []
        self.remaining: list[float] = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.models = ["tiny", "org/large"]
        self.loaded: set[str] = set()
        self.loading: dict[str, float] = {}  # fractions
        self.rejects_key = self.hangs = False  # in calls of ListModels
        self.admin_calls: list[str] = []
        self.lookups: list[str] = []
        self.upscaled: list[pb.UpscaleImageRequest] = []

    def reset_behaviour(self) -> None:
        """Answer normally from now on."""
        self.behave: Behaviour = self.after

    # Not a generator: grpc.aio leaves those to the garbage collector when a call is cancelled while it sends.
    async def StreamImages(self, request: pb.StreamImagesRequest, context: Any) -> None:  # type: ignore[override]  # noqa: N802
        self.requests.append(request.generation)
        self.previews.append(request.previews)
        self.with_progress.append(not request.omit_progress)
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        self.started.set()
        try:
            events = cast("AsyncGenerator[pb.StreamImagesResponse]", self.behave(request.generation, context))
            async with aclosing(events):
                async for event in events:
                    await context.write(event)
        except (
            asyncio.CancelledError,
            grpc.aio.InternalError,
        ):  # the second: the client disconnected while an event was sent
            self.cancelled.set()
            raise

    async def ListModels(self, _: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        if self.rejects_key:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "send a key")
        await asyncio.sleep(3600 if self.hangs else 0)
        return pb.ListModelsResponse(models=[self._model(name) for name in self.models])

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        name = request.model or self.models[0]
        self.lookups.append(name)
        if name not in (*self.models, *CAPABILITIES):
            refusal = Refusal(grpc.StatusCode.NOT_FOUND, f"no {name}", "MODEL_NOT_FOUND", {"model": name})
            context.set_trailing_metadata(refusal.trailers)
            await context.abort(refusal.code, refusal.message)
        return pb.GetModelResponse(model=self._model(name))

    async def LoadModel(self, request: pb.LoadModelRequest, _: Any) -> pb.LoadModelResponse:  # noqa: N802
        self.admin_calls.append(f"load {request.model}")
        self.loaded.add(request.model)
        return pb.LoadModelResponse(model=self._model(request.model))

    async def UnloadModel(self, request: pb.UnloadModelRequest, _: Any) -> pb.UnloadModelResponse:  # noqa: N802
        self.admin_calls.append(f"unload {request.model}")
        self.loaded.discard(request.model)
        return pb.UnloadModelResponse(model=self._model(request.model))

    async def UpscaleImage(self, request: pb.UpscaleImageRequest, _: Any) -> pb.UpscaleImageResponse:  # noqa: N802
        self.upscaled.append(request)
        kind = request.output.mime_type or "image/png"
        with Image.open(BytesIO(request.image)) as image:
            large = image.resize((image.width * (request.factor or 2), image.height * (request.factor or 2)))
        file = BytesIO()
        large.save(file, kind.removeprefix("image/"))
        return pb.UpscaleImageResponse(data=file.getvalue(), mime_type=kind, width=large.width, height=large.height)

    def _model(self, name: str) -> pb.Model:
        defaults = pb.ModelDefaults(width=96, height=64, steps=20, guidance_scale=7.5, sampler="ddim")
        facts = CAPABILITIES.get(name, USUAL_CAPABILITIES)
        model = pb.Model(name=name, defaults=defaults, loras=["ink"], embeddings=["<cat>", "EasyNegative"], **facts)
        model.is_default = name == self.models[0]
        model.state = pb.MODEL_STATE_LOADED if name in self.loaded else pb.MODEL_STATE_UNLOADED
        if name in self.loading:
            model.state, model.load_fraction = pb.MODEL_STATE_LOADING, self.loading[name]
        model.memory_bytes = 3 * 2**30 if "/" in name else 12 * 2**20
        model.samplers[:] = ["ddim", "dpmpp_2m", "euler", "euler_ancestral"]
        model.schedules[:] = ["karras", "normal"]
        model.fixed_samplers[:] = ["ddim"]
        if "/" in name:  # one model has presets, the other has none
            model.qualities.extend(["hd", "low"])
            model.styles.extend(["noir", "vivid"])
        model.created.FromSeconds(1_700_000_000)
        return model


def preview_event(index: int, preview_index: int) -> pb.StreamImagesResponse:
    """Return the event of a preview, whose colour encodes its number."""
    file = BytesIO()
    Image.new("RGB", (12, 8), (50 * preview_index, 0, 0)).save(file, "PNG")
    preview = pb.Preview(index=index, data=file.getvalue(), mime_type="image/png", preview_index=preview_index)
    return pb.StreamImagesResponse(preview=preview)


def images_with_previews(fake: FakeService) -> Any:
    """Return a behaviour that sends progress and the requested previews of each image."""

    async def behave(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield QUEUED
        for index in range(request.count or 1):
            for preview_index in range(fake.previews[-1].count):
                yield pb.StreamImagesResponse(progress=pb.Progress(index=index, step=preview_index + 1, steps=4))
                yield preview_event(index, preview_index)
            yield image(index, mime_type=request.output.mime_type)
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny", usage=pb.Usage(prompt_tokens=7)))

    return behave


def failing_after_first_event(refusal: Refusal) -> Any:
    """Return a behaviour that sends one event, then fails with `refusal`."""

    async def behave(request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield QUEUED
        async for event in refusal(request, context):
            yield event

    return behave


async def sleep_long(_: pb.GenerateImagesRequest, __: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Send one event, then do nothing for a minute."""
    yield QUEUED
    await asyncio.sleep(60)


async def disconnect_once_started(
    request: Coroutine[Any, Any, httpx.Response], fake: FakeService, number: int = 1
) -> None:
    """Send a request, and disconnect once the service has started `number` requests."""
    task = asyncio.create_task(request)
    async with asyncio.timeout(30):
        while len(fake.requests) < number:  # noqa: ASYNC110 - the event of the first request may be set already
            await asyncio.sleep(0.01)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class FakeHealth(health.aio.HealthServicer):
    """The health of a fake service, which answers no checks while `hangs` is set."""

    hangs = False

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        await asyncio.sleep(3600 if self.hangs else 0)
        return await super().Check(request, context)


@dataclass
class Service:
    """A running fake service: its address, health and gRPC server."""

    fake: FakeService
    address: str
    health: FakeHealth
    server: grpc.aio.Server


@asynccontextmanager
async def running_service(
    port: int = 0, credentials: grpc.ServerCredentials | None = None, *, with_health: bool = True
) -> AsyncIterator[Service]:
    """Run a fake service on a real socket; with TLS on `localhost`."""
    fake = FakeService()  # type: ignore[abstract]  # the gateway calls no other methods
    server, health_servicer = grpc.aio.server(options=OPTIONS), FakeHealth()
    pb_grpc.add_ImageServiceServicer_to_server(fake, server)
    if with_health:
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    await health_servicer.set("tintype.v1.ImageService", health_pb2.HealthCheckResponse.SERVING)
    if credentials:
        bound_port = server.add_secure_port("localhost:0", credentials)
    else:
        bound_port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Service(fake, f"127.0.0.1:{bound_port}", health_servicer, server)
    finally:
        await server.stop(None)


def config(service: Service, data: Path, **changes: Any) -> GatewayConfig:
    """Return the configuration of a gateway for `service`, on a free port, with its files in `data`."""
    defaults: dict[str, Any] = {"rest": "127.0.0.1:0", "grpc": service.address, "data": data, "timeout": 20}
    return GatewayConfig(**defaults | changes)


@asynccontextmanager
async def running_gateway(config: GatewayConfig) -> AsyncIterator[httpx.AsyncClient]:
    """Run the real gateway on a free port; yield a client for it."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(config, ready=ready.set_result, stop=stop))
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        async with httpx.AsyncClient(base_url=ready.result(), trust_env=False, timeout=30) as client:
            yield client
    finally:
        stop.set()
        await task
