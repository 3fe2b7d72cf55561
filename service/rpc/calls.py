"""What every transport of the calls needs: the log record of a call, its id, its caller's address, and its size."""

from __future__ import annotations

import logging
import re
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING
from uuid import uuid4

from tintype.v1 import logs
from tintype.v1.limits import MAX_MESSAGE, REQUEST_ID
from tintype.v1.tracing import current_span

from ..errors import InvalidField
from .access import current_caller

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    from tintype.v1 import image_service_pb2 as pb

QUIET = ("ListModels", "GetModel")  # calls that are logged at level debug if they succeed
_PLAIN_ID = re.compile(r"[\w.:/-]{1,128}", re.ASCII)


class Call:
    """The log record of one call; times are seconds."""

    def __init__(self, request: Message, id_: str) -> None:
        self.id = id_
        self.trace = current_span().trace_id
        self.device = ""  # of several, separated by commas
        self.outcome = "OK"
        self.completed = False
        self._key = current_caller().name
        self.name = request.DESCRIPTOR.name.removesuffix("Request")
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
    def seconds(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self._began

    @property
    def level(self) -> int:
        """Debug for successful descriptions of models, which are frequent; otherwise info."""
        return logging.DEBUG if self.outcome == "OK" and self.name in QUIET else logging.INFO

    def pairs(self) -> dict[str, object]:
        """Return the values of the log line."""
        run = self.seconds - self._queue
        facts = {
            "call": self.name,
            "id": self.id,
            "trace": self.trace,
            "key": self._key,
            "model": self._model,
            "count": self._count,
        }
        where = {"device": self.device} if self.device else {}
        return facts | where | {"status": self.outcome, "queue": round(self._queue, 3), "run": round(run, 3)}

    def __str__(self) -> str:
        pairs = self.pairs()
        device = f"device={self.device} " if self.device else ""
        return (
            f"{self.name} id={self.id} trace={self.trace or '-'} key={self._key or '-'} model={self._model!r} "
            f"count={self._count} {device}"
            f"status={self.outcome} queue={pairs['queue']:.3f} run={pairs['run']:.3f}"
        )


_CALL: ContextVar[Call | None] = ContextVar("tintype-call", default=None)


def current_call() -> Call | None:
    """Return the record of the call that runs in this context."""
    return _CALL.get()


def begin_call(request: Message, id_: str) -> Call:
    """Return the record of a new call, which is the current one of this context from now on."""
    call = Call(request, id_)
    _CALL.set(call)
    logs.set_ids(id=id_)
    return call


def check_size(
    response: pb.GenerateImagesResponse | pb.UpscaleImageResponse,
    field: str = "count",
    advice: str = "use StreamImages",
) -> None:
    """Raise InvalidField, with `advice`, if a response is larger than a message may be."""
    if response.ByteSize() > MAX_MESSAGE:
        sizes = f"{response.ByteSize() / 2**20:.1f} MiB, above the limit of {MAX_MESSAGE >> 20} MiB"
        raise InvalidField(field, f"makes a response of {sizes}: {advice}")


def request_id(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """Return the client's `x-request-id` if it has only plain characters, otherwise a new id."""
    sent = dict(metadata or ()).get(REQUEST_ID, "")
    return sent if isinstance(sent, str) and _PLAIN_ID.fullmatch(sent) else uuid4().hex


def peer(address: str) -> str:
    """Return a client's address without its port, for example `ipv4:10.0.0.7`."""
    return address.rpartition(":")[0] if address.startswith(("ipv4:", "ipv6:")) else address
