"""What the context of Ray Serve lacks for the servicer of `tintype.service`.

Ray's context has no `abort`, `time_remaining`, `write` and no callbacks. It travels with each message and not with an
exception: after an error, code, details and trailers are set, and one more message, which is empty, carries them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    import grpc
    from google.protobuf.message import Message

AHEAD = 4  # messages of a stream that may wait for Ray


class RayContext(Protocol):
    """The part of `ray.serve.grpc_util.RayServegRPCContext` that is used."""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        """Return the client's metadata."""

    def peer(self) -> str:
        """Return the client's address."""

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the status of the call."""

    def set_details(self, details: str) -> None:
        """Set the message of the status."""

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Set the trailing metadata."""


class CallAborted(Exception):
    """The call has ended with the status that its context holds."""


class CallContext:
    """The context of one call, with the methods of `grpc.aio.ServicerContext` that the servicer uses."""

    def __init__(self, ray: RayContext) -> None:
        self._ray = ray
        self._callbacks: list[Callable[[object], None]] = []
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._room = asyncio.Semaphore(AHEAD)

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """Return the client's metadata."""
        return self._ray.invocation_metadata()

    def peer(self) -> str:
        """Return the client's address."""
        return self._ray.peer()

    def time_remaining(self) -> float | None:
        """Return None: the deadline of the call does not reach a replica, only the field `timeout` does."""
        return None

    def set_trailing_metadata(self, trailing: Sequence[tuple[str, str | bytes]]) -> None:
        """Set the trailing metadata."""
        self._ray.set_trailing_metadata(list(trailing))  # type: ignore[arg-type]  # gRPC sends bytes as well

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Call `callback` when the call has ended."""
        self._callbacks.append(callback)

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> None:
        """End the call with a status. Always raises CallAborted."""
        self._ray.set_code(code)
        self._ray.set_details(details)
        self.set_trailing_metadata(trailing_metadata)
        raise CallAborted(details)

    async def write(self, message: Message) -> None:
        """Send a message of a stream."""
        await self._room.acquire()
        self._messages.put_nowait(message)

    async def run(self, call: Awaitable[Any]) -> Any:
        """Return the response of a call. Raises CallAborted."""
        try:
            return await call
        finally:
            for callback in self._callbacks:
                callback(self)

    async def stream(self, call: Awaitable[None]) -> AsyncGenerator[Any]:
        """Run a call and yield what it writes. Closing the generator cancels the call. Raises CallAborted."""
        task = asyncio.ensure_future(self.run(call))
        task.add_done_callback(lambda _: self._messages.put_nowait(None))
        try:
            while (message := await self._messages.get()) is not None:
                self._room.release()
                yield message
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
