"""ImageService over grpc.aio.

`api` does the work, `access` enforces the rights of keys, `status` converts errors. Each call leaves one line in the
log: its id, the name of its key, the numbers of its request, its outcome, and the time of its parts; never a prompt.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, TypeAlias
from uuid import uuid4

import grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.transport import MAX_MESSAGE, REQUEST_ID

from ..errors import InvalidField
from .access import Rates, current_caller
from .status import to_status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from .access import ImageCount

    Context: TypeAlias = ServicerContext[Message, Message]

log = logging.getLogger(__name__)

QUIET = ("ListModels", "GetModel")  # calls that are logged at level debug if they succeed
_PLAIN_ID = re.compile(r"[\w.:/-]{1,128}", re.ASCII)


class ServedApi(Protocol):
    """The six calls of ImageService without their transport, and the name of the default model."""

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


# The methods have the names of the contract.
# ruff: noqa: N802


class ImageServicer(pb_grpc.ImageServiceServicer):
    """Serves an API over gRPC. `idle` is set while no call runs; a call runs until its last byte is sent."""

    def __init__(self, api: ServedApi) -> None:
        self._api = api
        self._rates = Rates()
        self._active = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def GenerateImages(self, request: pb.GenerateImagesRequest, context: Context) -> pb.GenerateImagesResponse:
        """Generate all images and return one response."""
        async with self._call(context, request) as call:
            with self._key_rights(request) as generated:
                response = await self._api.generate(request, caller=peer(context), deadline=deadline(context))
                generated.images = len(response.images)
            call.record_result(response)
            _check_size(response)
            return response

    # Not a generator: grpc.aio leaves a cancelled generator to the garbage collector, but its rows must end at once.
    async def StreamImages(self, request: pb.StreamImagesRequest, context: Context) -> None:  # type: ignore[override]
        """Generate images and send each event as it happens."""
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._call(context, request))
            generated = stack.enter_context(self._key_rights(request.generation))
            stream = self._api.stream(request, caller=peer(context), deadline=deadline(context))
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
        """Count and log one call, and end it with the status of an exception raised inside the block."""
        call = Call(request, request_id(context))
        _CALL.set(call)
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

    def _count(self, context: Context) -> None:
        def uncount(_: object) -> None:
            self._active -= 1
            if not self._active:
                self.idle.set()

        self._active += 1
        self.idle.clear()
        context.add_done_callback(uncount)  # type: ignore[arg-type]  # the stub does not know plain functions


class Call:
    """The log record of one call; times are seconds."""

    def __init__(self, request: Message, id_: str) -> None:
        self.id = id_
        self.device = ""  # of several, separated by commas
        self.outcome = "OK"
        self.completed = False
        self._key = current_caller().name
        self._name = request.DESCRIPTOR.name.removesuffix("Request")
        self._began = time.monotonic()
        self._queue = 0.0
        generation = getattr(request, "generation", request)
        self._model = getattr(generation, "model", "")
        self._count = getattr(generation, "count", 0)

    def record_result(self, result: pb.GenerateImagesResponse | pb.Completed) -> None:
        """Record the model, the number of images, and how long the request waited."""
        self.completed = True
        self._model, self._count = result.model, result.usage.images
        self._queue = result.timings.queue.ToMicroseconds() / 1e6

    @property
    def level(self) -> int:
        """Debug for successful descriptions of models, which are frequent; otherwise info."""
        return logging.DEBUG if self.outcome == "OK" and self._name in QUIET else logging.INFO

    def pairs(self) -> dict[str, object]:
        """Return the values of the log line."""
        run = time.monotonic() - self._began - self._queue
        facts = {"call": self._name, "id": self.id, "key": self._key, "model": self._model, "count": self._count}
        where = {"device": self.device} if self.device else {}
        return facts | where | {"status": self.outcome, "queue": round(self._queue, 3), "run": round(run, 3)}

    def __str__(self) -> str:
        pairs = self.pairs()
        device = f"device={self.device} " if self.device else ""
        return (
            f"{self._name} id={self.id} key={self._key or '-'} model={self._model!r} count={self._count} {device}"
            f"status={self.outcome} queue={pairs['queue']:.3f} run={pairs['run']:.3f}"
        )


_CALL: ContextVar[Call | None] = ContextVar("tintype-call", default=None)


def current_call() -> Call | None:
    """Return the record of the call that runs in this context."""
    return _CALL.get()


def _check_size(response: pb.GenerateImagesResponse) -> None:
    if response.ByteSize() > MAX_MESSAGE:
        sizes = f"{response.ByteSize() / 2**20:.1f} MiB, above the limit of {MAX_MESSAGE >> 20} MiB"
        raise InvalidField("count", f"makes a response of {sizes}: use StreamImages")


def request_id(context: Context) -> str:
    """Return the client's `x-request-id` if it has only plain characters, otherwise a new id."""
    sent = dict(context.invocation_metadata() or ()).get(REQUEST_ID, "")
    return sent if isinstance(sent, str) and _PLAIN_ID.fullmatch(sent) else uuid4().hex


def peer(context: Context) -> str:
    """Return the client's address without its port, for example `ipv4:10.0.0.7`."""
    address = context.peer()
    return address.rpartition(":")[0] if address.startswith(("ipv4:", "ipv6:")) else address


def deadline(context: Context) -> float | None:
    """Return the call's deadline as a time of `time.monotonic`; None without one."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
