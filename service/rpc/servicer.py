"""ImageService over grpc.aio: calls in, calls out.

`api` does what the call asks for, `access` says what its key may do, `status` what an error becomes. Each call leaves
one line in the log: its id, its key's name, what it asked for in numbers, how it ended and where the time went; never
a prompt.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeAlias
from uuid import uuid4

import grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc

from ..errors import InvalidField
from .access import Rates, caller
from .status import to_status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from google.protobuf.message import Message
    from grpc.aio import ServicerContext

    from ..api import ImageApi
    from .access import Made

    Context: TypeAlias = ServicerContext[Message, Message]

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 2**20  # bytes, both ways: ten 1024x1024 PNGs take 20 MB, and uploads come the other way
REQUEST_ID = "x-request-id"
LOOKS = ("ListModels", "GetModel")
_PLAIN_ID = re.compile(r"[\w.:/-]{1,128}", re.ASCII)


# The methods bear the names of the contract.
# ruff: noqa: N802


class ImageServicer(pb_grpc.ImageServiceServicer):
    """The adapter. `idle` is set while no call is under way, counted until its last byte is sent."""

    def __init__(self, api: ImageApi) -> None:
        self._api = api
        self._rates = Rates()
        self._active = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def GenerateImages(self, request: pb.GenerateImagesRequest, context: Context) -> pb.GenerateImagesResponse:
        """Make all images and answer once."""
        async with self._call(context, request) as call:
            with self._granted(request) as made:
                answer = await self._api.generate(request, caller=peer(context), deadline=deadline(context))
                made.images = len(answer.images)
            call.done(answer)
            _check_size(answer)
            return answer

    # Not a generator: grpc.aio leaves those to the garbage collector when a call is cancelled, and rows must go now.
    async def StreamImages(self, request: pb.StreamImagesRequest, context: Context) -> None:  # type: ignore[override]
        """Make the images and send each event as it happens."""
        async with AsyncExitStack() as stack:
            call = await stack.enter_async_context(self._call(context, request))
            made = stack.enter_context(self._granted(request.generation))
            stream = self._api.stream(request, caller=peer(context), deadline=deadline(context))
            async with aclosing(stream) as responses:
                async for response in responses:
                    if response.HasField("completed"):
                        call.done(response.completed)
                    made.images += response.HasField("image")
                    await context.write(response)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """List the models that the caller may use, its default first."""
        async with self._call(context, request):
            answer, who = pb.ListModelsResponse(), caller()
            default = who.model("", self._api.default) or self._api.default
            listed = [model for model in self._api.list_models(request).models if who.knows(model.name)]
            answer.models.extend(sorted(listed, key=lambda model: model.name != default))
            for model in answer.models:
                model.is_default = model.name == default
            return answer

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Return what a model is and can do."""
        async with self._call(context, request):
            with self._named(request):
                return self._api.get_model(request)

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        """Bring a model into memory."""
        async with self._call(context, request):
            with self._named(request):
                return await self._api.load_model(request)

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        """Drop a model from memory."""
        async with self._call(context, request):
            with self._named(request):
                return await self._api.unload_model(request)

    @contextmanager
    def _granted(self, request: pb.GenerateImagesRequest) -> Generator[Made]:
        """Let a request be made as its key may.

        Raises ModelNotAllowed, RateLimited, InvalidField.
        """
        who = caller()
        who.sign(request, self._api.default)
        with who.hiding(), who.counted(self._rates, max(1, request.count)) as made:
            yield made

    @contextmanager
    def _named(self, request: pb.GetModelRequest | pb.LoadModelRequest | pb.UnloadModelRequest) -> Generator[None]:
        """Let a request name a model that its key may use.

        Raises ModelNotAllowed.
        """
        who = caller()
        request.model = who.model(request.model, self._api.default)
        with who.hiding():
            yield

    @asynccontextmanager
    async def _call(self, context: Context, request: Message) -> AsyncGenerator[Call]:
        """Carry one call: count it, end it with the status of what is raised inside, and log it."""
        call = Call(request, request_id(context))
        self._count(context)
        context.set_trailing_metadata(((REQUEST_ID, call.id),))
        try:
            yield call
        except asyncio.CancelledError:
            call.outcome = call.outcome if call.completed else "CANCELLED"
            raise
        except grpc.aio.InternalError as error:  # a write that failed: the caller left while something was sent to it
            call.outcome = "CANCELLED"
            raise asyncio.CancelledError from error
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a status and no traceback
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
        context.add_done_callback(uncount)  # type: ignore[arg-type]  # the stub knows no plain functions


class Call:
    """What the log says of one call; times are seconds."""

    def __init__(self, request: Message, id_: str) -> None:
        self.id = id_
        self.outcome = "OK"
        self.completed = False
        self._key = caller().name
        self._name = request.DESCRIPTOR.name.removesuffix("Request")
        self._began = time.monotonic()
        self._queue = 0.0
        asked = getattr(request, "generation", request)
        self._model = getattr(asked, "model", "")
        self._count = getattr(asked, "count", 0)

    def done(self, answer: pb.GenerateImagesResponse | pb.Completed) -> None:
        """Note which model answered with how many pictures, and how long they waited."""
        self.completed = True
        self._model, self._count = answer.model, answer.usage.images
        self._queue = answer.timings.queue.ToMicroseconds() / 1e6

    @property
    def level(self) -> int:
        """Looks at models that went well are many, and of no interest."""
        return logging.DEBUG if self.outcome == "OK" and self._name in LOOKS else logging.INFO

    def pairs(self) -> dict[str, object]:
        """Return what the line says, as values."""
        run = time.monotonic() - self._began - self._queue
        facts = {"call": self._name, "id": self.id, "key": self._key, "model": self._model, "count": self._count}
        return facts | {"status": self.outcome, "queue": round(self._queue, 3), "run": round(run, 3)}

    def __str__(self) -> str:
        said = self.pairs()
        return (
            f"{self._name} id={self.id} key={self._key or '-'} model={self._model!r} count={self._count} "
            f"status={self.outcome} queue={said['queue']:.3f} run={said['run']:.3f}"
        )


def _check_size(answer: pb.GenerateImagesResponse) -> None:
    if answer.ByteSize() > MAX_MESSAGE:
        mib = answer.ByteSize() / 2**20
        raise InvalidField("count", f"makes an answer of {mib:.1f} MiB, too long for a message: use StreamImages")


def request_id(context: Context) -> str:
    """Return the caller's `x-request-id` if it is a plain word, else a fresh one."""
    given = dict(context.invocation_metadata() or ()).get(REQUEST_ID, "")
    return given if isinstance(given, str) and _PLAIN_ID.fullmatch(given) else uuid4().hex


def peer(context: Context) -> str:
    """Return the caller's address without its port: `ipv4:10.0.0.7`."""
    address = context.peer()
    return address.rpartition(":")[0] if address.startswith(("ipv4:", "ipv6:")) else address


def deadline(context: Context) -> float | None:
    """Return the call's deadline as a point of `time.monotonic`, or None where it has none."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
