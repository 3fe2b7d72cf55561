"""ImageService over grpc.aio.

`api` does the work, `access` enforces the rights of keys, `status` converts errors. Each call leaves one line in the
log: its id, the name of its key, the numbers of its request, its outcome, and the time of its parts; never a prompt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias

import grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.limits import REQUEST_ID
from tintype.v1.tracing import Tracer

from ..metrics.observer import IGNORE
from .access import Rates, current_caller
from .calls import begin_call, check_size, peer, request_id
from .spans import end_call, trace_call
from .status import to_status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from tintype.v1.tracing import Span

    from ..metrics.observer import Observer
    from .access import ImageCount
    from .calls import Call

    Context: TypeAlias = ServicerContext[Message, Message]

log = logging.getLogger(__name__)


class ServedApi(Protocol):
    """The seven calls of ImageService without their transport, and the name of the default model."""

    @property
    def default(self) -> str:
        """Name of the model for requests that name none."""

    async def generate(
        self, request: pb.GenerateImagesRequest, *, caller: str, deadline: float | None
    ) -> pb.GenerateImagesResponse:
        """Generate images and return one response."""

    def stream(
        self, request: pb.StreamImagesRequest, *, caller: str, deadline: float | None
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Generate images and yield each event; closing the generator cancels the rest."""

    async def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """List the models, the default first."""

    async def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """Describe a model."""

    async def load_model(self, request: pb.LoadModelRequest) -> pb.LoadModelResponse:
        """Load a model."""

    async def unload_model(self, request: pb.UnloadModelRequest) -> pb.UnloadModelResponse:
        """Evict a model from memory."""

    async def upscale(self, request: pb.UpscaleImageRequest) -> pb.UpscaleImageResponse:
        """Enlarge an image."""


# The methods have the names of the contract.
# ruff: noqa: N802


class ImageServicer(pb_grpc.ImageServiceServicer):
    """Serves an API over gRPC. `idle` is set while no call runs; a call runs until its last byte is sent."""

    def __init__(self, api: ServedApi, observer: Observer = IGNORE, tracer: Tracer | None = None) -> None:
        self._api = api
        self._tracer = tracer or Tracer()
        self._observer = observer
        self._rates = Rates()
        self._active = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def GenerateImages(self, request: pb.GenerateImagesRequest, context: Context) -> pb.GenerateImagesResponse:
        """Generate all images and return one response."""
        async with self._call(context, request) as call:
            with self._key_rights(request) as generated:
                response = await self._api.generate(request, caller=peer(context.peer()), deadline=deadline(context))
                generated.images = len(response.images)
            call.record_result(response)
            check_size(response)
            return response

    # Not a generator: grpc.aio leaves a cancelled generator to the garbage collector, but its rows must end at once.
    async def StreamImages(self, request: pb.StreamImagesRequest, context: Context) -> None:  # type: ignore[override]
        """Generate images and send each event as it happens."""
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._call(context, request))
            generated = stack.enter_context(self._key_rights(request.generation))
            stream = self._api.stream(request, caller=peer(context.peer()), deadline=deadline(context))
            async with aclosing(stream) as responses:
                async for response in responses:
                    if response.HasField("completed"):
                        call.record_result(response.completed)
                    generated.images += response.HasField("image")
                    await context.write(response)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """List the models that the caller may use, its default first."""
        async with self._call(context, request):
            response, caller = pb.ListModelsResponse(), current_caller()
            default = caller.model("", self._api.default) or self._api.default
            allowed = [model for model in (await self._api.list_models(request)).models if caller.may_use(model.name)]
            response.models.extend(sorted(allowed, key=lambda model: model.name != default))
            for model in response.models:
                model.is_default = model.name == default
            return response

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Describe a model."""
        async with self._call(context, request):
            with self._model_use(request):
                return await self._api.get_model(request)

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        """Load a model."""
        async with self._call(context, request):
            with self._model_use(request):
                return await self._api.load_model(request)

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        """Evict a model from memory."""
        async with self._call(context, request):
            with self._model_use(request):
                return await self._api.unload_model(request)

    async def UpscaleImage(self, request: pb.UpscaleImageRequest, context: Context) -> pb.UpscaleImageResponse:
        """Enlarge an image, which counts as one image of the key's rate."""
        async with self._call(context, request):
            with current_caller().count_request(self._rates, 1) as made:
                response = await self._api.upscale(request)
                check_size(response, "output.mime_type", "choose JPEG or WebP")
                made.images = 1
            return response

    @contextmanager
    def _key_rights(self, request: pb.GenerateImagesRequest) -> Generator[ImageCount]:
        """Apply the key's rights and rates to a request. Raises ModelNotAllowed, RateLimited, InvalidField."""
        caller = current_caller()
        caller.apply_rights(request, self._api.default)
        with caller.hiding_other_models(), caller.count_request(self._rates, max(1, request.count)) as generated:
            yield generated

    @contextmanager
    def _model_use(self, request: pb.GetModelRequest | pb.LoadModelRequest | pb.UnloadModelRequest) -> Generator[None]:
        """Set the model of a request, and check that the key may use it. Raises ModelNotAllowed."""
        caller = current_caller()
        request.model = caller.model(request.model, self._api.default)
        with caller.hiding_other_models():
            yield

    @asynccontextmanager
    async def _call(self, context: Context, request: Message) -> AsyncGenerator[Call]:
        """Count, log and trace one call, and end it with the status of an exception raised inside the block."""
        with trace_call(self._tracer, context.invocation_metadata(), request) as span:
            async with self._logged(context, request, span) as call:
                yield call

    @asynccontextmanager
    async def _logged(self, context: Context, request: Message, span: Span) -> AsyncGenerator[Call]:
        call = begin_call(request, request_id(context.invocation_metadata()))
        self._count(context)
        context.set_trailing_metadata(((REQUEST_ID, call.id),))
        try:
            yield call
        except asyncio.CancelledError:
            call.outcome = call.outcome if call.completed else "CANCELLED"
            raise
        except grpc.aio.InternalError as error:  # a failed write: the client disconnected while it received
            call.outcome = "CANCELLED"
            raise asyncio.CancelledError from error
        except Exception as error:  # noqa: BLE001  # any exception becomes a status without traceback
            status = to_status(error)
            call.outcome = status.code.name
            await context.abort(status.code, status.message, (*status.trailing, (REQUEST_ID, call.id)))
        finally:
            log.log(call.level, "%s", call, extra={"pairs": call.pairs()})
            self._observer.answered(call.name, call.outcome, call.seconds)
            end_call(span, call)

    def _count(self, context: Context) -> None:
        def uncount(_: object) -> None:
            self._active -= 1
            if not self._active:
                self.idle.set()

        self._active += 1
        self.idle.clear()
        context.add_done_callback(uncount)  # type: ignore[arg-type]  # the stub does not know plain functions


def deadline(context: Context) -> float | None:
    """Return the call's deadline as a time of `time.monotonic`; None without one."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
