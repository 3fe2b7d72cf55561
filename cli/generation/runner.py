"""A run: prompts are sent to the service, several at a time, and each image is handed on when it is done."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from tintype.v1 import image_service_pb2 as pb

from ..errors import UserError
from .request import build_request

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from ..service_client import ServiceConnection
    from .prompts import Entry

    class Receiver(Protocol):
        """What becomes of a run's events and images."""

        def event(self, index: int, event: pb.StreamImagesResponse) -> None:
            """Take an event of the prompt `index`."""

        def image(self, work: Work, request: pb.GenerateImagesRequest, image: pb.Image) -> None:
            """Take a finished image."""

        def failed(self, work: Work, error: object) -> None:
            """Take the error of a prompt; the others go on."""


MAX_KEPT = 256_000_000  # bytes of checked requests that are kept until they are sent; others are built again
# Errors that all further prompts would have too.
FATAL = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)


@dataclass(frozen=True, slots=True)
class Work:
    """A checked prompt of a run by its number: how many images it makes, and how many those before it make.

    `request` is None if its images are to be read again.
    """

    index: int
    entry: Entry
    before: int
    count: int
    request: pb.GenerateImagesRequest | None


def check(entries: Sequence[Entry]) -> list[Work]:
    """Check every prompt before a model is loaded. Raises UserError: the first fault, and how many others there are."""
    works: list[Work] = []
    faults: list[str] = []
    before = kept = 0
    for index, entry in enumerate(entries):
        try:
            request = build_request(entry.values)
        except UserError as error:
            faults.append(entry.explain(error))
            continue
        kept += request.ByteSize()
        works.append(Work(index, entry, before, request.count, request if kept <= MAX_KEPT else None))
        before += request.count
    if faults:
        raise UserError(faults[0] + (f"; {len(faults) - 1} more prompts have faults" if len(faults) > 1 else ""))
    return works


async def run(
    service: ServiceConnection, works: Sequence[Work], models: dict[str, str], jobs: int, receiver: Receiver
) -> None:
    """Make all images, `jobs` prompts at a time; `models` replaces names of models.

    Raises:
        grpc.aio.AioRpcError: the only prompt failed, or all would fail.
        UserError: an image can't be saved.
    """
    only = len(works) == 1
    waiting = iter(works)

    async def make_in_turn() -> None:
        for work in waiting:
            try:
                await _make(service, work, models, receiver)
            except (grpc.aio.AioRpcError, UserError) as error:
                if only or _is_fatal(error):
                    raise
                receiver.failed(work, error.details() if isinstance(error, grpc.aio.AioRpcError) else error)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(jobs, len(works))):
                group.create_task(make_in_turn())
    except* (grpc.aio.AioRpcError, UserError, OSError) as errors:  # OSError: stdout is closed, as by `head`
        raise _first(errors) from None


def _is_fatal(error: grpc.aio.AioRpcError | UserError) -> bool:
    return isinstance(error, SaveError) or (isinstance(error, grpc.aio.AioRpcError) and error.code() in FATAL)


class SaveError(UserError):
    """An image can't be saved; neither could the next ones."""


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


async def _make(service: ServiceConnection, work: Work, models: dict[str, str], receiver: Receiver) -> None:
    """Make the images of one prompt."""
    request = pb.GenerateImagesRequest()
    request.CopyFrom(work.request or build_request(work.entry.values))
    request.model = models.get(request.model, request.model)
    stub, metadata = service
    async for event in stub.StreamImages(pb.StreamImagesRequest(generation=request), metadata=metadata):
        receiver.event(work.index, event)
        if event.HasField("image"):
            receiver.image(work, request, event.image)
