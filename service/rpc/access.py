"""API keys over gRPC, checked before the message of a call is read.

- Health is open. While keys are required, every other method needs a key; LoadModel and UnloadModel need an admin key.
- A key's models, rates and priority apply as over REST. The engine shares the device fairly between keys.
- An admin key may act for others: `caller` and `priority` of its requests apply, as a gateway sends them.
- A message that can't be parsed is INVALID_ARGUMENT. gRPC itself would send UNKNOWN and log a traceback.
- The message of a rejected call is not read. Other messages arrive a few at a time (see `inbox`).
"""

from __future__ import annotations

import logging
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from tintype.v1.keys import request_key
from tintype.v1.limits import SERVICE
from tintype.v1.rates import RateLimits

from ..errors import (
    AdminOnly,
    InvalidField,
    ModelNotAllowed,
    ModelNotFound,
    PermissionDenied,
    QueueFull,
    RateLimited,
    Unauthenticated,
    WrongKey,
)
from ..metrics.observer import IGNORE
from .inbox import Inbox
from .status import to_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from tintype.v1 import image_service_pb2 as pb
    from tintype.v1.keyfile import Key
    from tintype.v1.keys import Keys

    from ..metrics.observer import Observer

log = logging.getLogger(__name__)

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
OPEN = (HEALTH,)
ADMIN = (f"/{SERVICE}/LoadModel", f"/{SERVICE}/UnloadModel")


def _rate(per_minute: int, what: str, wait: float, _: object) -> RateLimited:
    return RateLimited(f"this key may have {per_minute} {what} a minute", retry_after=wait)


@dataclass(frozen=True, slots=True)
class Rates:
    """The used rates of all keys. All calls of a server share it."""

    requests: RateLimits = field(default_factory=lambda: RateLimits("requests", _rate))
    images: RateLimits = field(default_factory=lambda: RateLimits("images", _rate))


@dataclass(frozen=True, slots=True)
class Caller:
    """The key of one call and its rights; `key` is None if no key is required."""

    key: Key | None = None

    @property
    def name(self) -> str:
        """Name of the key; empty without one."""
        return self.key.name if self.key else ""

    def model(self, name: str, default: str) -> str:
        """Return the model of this name for this caller, the default if it is empty. Raises ModelNotAllowed."""
        models = self.key.models if self.key else ()
        if not models:
            return name
        name = name or (default if default in models else models[0])
        if name not in models:
            raise ModelNotAllowed(name, models)
        return name

    def may_use(self, name: str) -> bool:
        """Return whether this caller may use a model."""
        return not self.key or not self.key.models or name in self.key.models

    @contextmanager
    def hiding_other_models(self) -> Iterator[None]:
        """List only the key's models in an error about an unknown model."""
        try:
            yield
        except ModelNotFound as error:
            if self.key and self.key.models:
                raise ModelNotFound(error.metadata["model"], self.key.models) from None
            raise

    def apply_rights(self, request: pb.GenerateImagesRequest, default: str) -> None:
        """Set the key's model, priority and name in a request. Raises ModelNotAllowed."""
        request.model = self.model(request.model, default)
        if self.key and not (self.key.admin and request.caller):
            request.caller = self.key.name
        if self.key and not (self.key.admin and request.priority):
            request.priority = self.key.priority

    @contextmanager
    def count_request(self, rates: Rates, count: int) -> Iterator[ImageCount]:
        """Count a request for `count` images against the key's rates.

        The block sets the number of images that it generated; the others are not counted. Raises RateLimited,
        InvalidField.
        """
        generated = ImageCount()
        requests, images = (self.key.requests or 0, self.key.images or 0) if self.key else (0, 0)
        if 0 < images < count:
            raise InvalidField("count", f"must be at most {images}, this key's images per minute, not {count}")
        rates.requests.take(self.name, requests)
        rates.images.take(self.name, images, count)
        try:
            yield generated
        finally:
            rates.images.give_back(self.name, images, count - generated.images)


@dataclass(slots=True)
class ImageCount:
    """The number of images that a request has generated."""

    images: int = 0


_CALLER: ContextVar[Caller] = ContextVar("tintype-caller", default=Caller())  # noqa: B039  # frozen


def current_caller() -> Caller:
    """Return the caller of the call that runs in this context."""
    return _CALLER.get()


def set_caller(caller: Caller) -> None:
    """Set the caller of the call that runs in this context."""
    _CALLER.set(caller)


async def admit(keys: Keys, method: str, metadata: Any) -> Caller:
    """Return the caller of a method, `/SERVICE/NAME`, from the call's metadata.

    Raises Unauthenticated, PermissionDenied.
    """
    await keys.reload()
    if not keys.required:
        return Caller()
    secret = request_key(_texts(metadata or ()))
    key = keys.find(secret) if secret else None
    if key is None:
        raise WrongKey if secret else Unauthenticated
    if method in ADMIN and not key.admin:
        raise AdminOnly
    return Caller(key)


class Guard(grpc.aio.ServerInterceptor):
    """Rejects calls that their key does not allow, before their messages are read."""

    def __init__(self, keys: Keys, observer: Observer = IGNORE) -> None:
        self._keys = keys
        self._observer = observer
        self._inbox = Inbox()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a call, or one that rejects it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        try:
            set_caller(await self._admit(handler_call_details))
        except (Unauthenticated, PermissionDenied) as error:
            call = handler_call_details.method.rpartition("/")[2]
            self._observer.answered(call, to_status(error).code.name, 0.0)
            return _rejecting_handler(handler, error, handler_call_details.method)
        return _ParsingHandler(handler, handler_call_details.method, self._inbox).rpc_handler()

    async def _admit(self, details: grpc.HandlerCallDetails) -> Caller:
        if details.method.rpartition("/")[0].lstrip("/") in OPEN:
            return Caller()
        return await admit(self._keys, details.method, details.invocation_metadata)


def _texts(metadata: Any) -> Mapping[str, str]:
    return {name: value for name, value in metadata if isinstance(value, str)}


def _behaviour(handler: Any) -> Callable[..., Any]:
    kinds = (handler.unary_unary, handler.unary_stream, handler.stream_unary, handler.stream_stream)
    behaviour: Callable[..., Any] = next(kind for kind in kinds if kind is not None)
    return behaviour


def _handler(like: Any, behaviour: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that responds as `like` does, and receives an iterator of messages as bytes.

    On the wire a single message is a stream of one. gRPC reads the messages of an iterator only on request.
    """
    make = grpc.stream_stream_rpc_method_handler if like.response_streaming else grpc.stream_unary_rpc_method_handler
    handler: grpc.RpcMethodHandler[Any, Any] = make(behaviour, None, like.response_serializer)
    return handler


async def _abort(context: Any, method: str, error: Exception) -> None:
    status = to_status(error)
    log.info("%s id=- status=%s", method.rpartition("/")[2], status.code.name)
    await context.abort(status.code, status.message, status.trailing)


def _rejecting_handler(handler: Any, error: Exception, method: str) -> grpc.RpcMethodHandler[Any, Any]:
    async def reject(_: object, context: Any) -> None:
        await _abort(context, method, error)

    return _handler(handler, reject)


@dataclass(frozen=True, slots=True)
class _ParsingHandler:
    """A handler that receives its messages through an inbox and parses them."""

    handler: Any
    method: str
    inbox: Inbox

    def rpc_handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return gRPC's handler, which receives messages as bytes."""
        return _handler(self.handler, self._stream if self.handler.response_streaming else self._unary)

    async def _unary(self, messages: AsyncIterator[bytes], context: Any) -> Any:
        return await _behaviour(self.handler)(await self._request(messages, context), context)

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> None:
        responses = _behaviour(self.handler)(await self._request(messages, context), context)
        if not hasattr(responses, "__aiter__"):
            await responses
            return
        async with aclosing(responses):
            async for response in responses:
                await context.write(response)

    async def _request(self, messages: AsyncIterator[bytes], context: Any) -> Any:
        if self.handler.request_streaming:
            return self._parse_each(messages, context)
        try:
            data = await self.inbox.message(messages)
        except (QueueFull, InvalidField) as error:
            await _abort(context, self.method, error)
        return await self._parse(data, context)

    async def _parse_each(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        async for data in messages:
            yield await self._parse(data, context)

    async def _parse(self, data: bytes, context: Any) -> Any:
        try:
            return self.handler.request_deserializer(data)
        except DecodeError:
            await _abort(context, self.method, InvalidField("request", "must be a valid message of the contract"))
