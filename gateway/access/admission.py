"""What a caller may do here: `identified` and `admitted` give a handler the gateway as it is for its request's key.

Its client knows the key's models only, and counts pictures whoever asks for them; its names have a default that the
key may use. So no API that makes pictures has to know of keys at all.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import ServiceError
from . import bounds
from .denials import AdminOnly, ModelNotAllowed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from litestar import Request

    from tintype.v1 import image_service_pb2 as pb
    from tintype.v1.keyfile import Key

    from ..access_record import Visit
    from ..config import GatewayConfig
    from ..requests.generation import Gateway


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the key, where keys are needed, else the address; and what it may. Rates are per minute."""

    name: str
    requests: int
    images: int
    models: tuple[str, ...] = ()
    priority: int = 0
    admin: bool = True


def caller(key: Key | None, address: str, config: GatewayConfig) -> Caller:
    """Return who asks; what the key does not say of rates is what everybody gets."""
    if key is None:
        return Caller(address, config.rate_limit, config.image_limit)
    requests = config.rate_limit if key.requests is None else key.requests
    images = config.image_limit if key.images is None else key.images
    return Caller(key.name, requests, images, key.models, key.priority, key.admin)


def identified(gateway: Gateway, request: Request[Any, Any, Any]) -> Gateway:
    """Return the gateway as the request's key may use it. Raises NoKey, WrongKey."""
    return _own(gateway, request)[0]


def admitted(gateway: Gateway, request: Request[Any, Any, Any]) -> Gateway:
    """Return what `identified` does, and count a request for pictures. Raises NoKey, WrongKey, TooManyRequests."""
    own, who = _own(gateway, request)
    request.state.visit.headers.update(gateway.limits.take(who.name, who.requests))
    return own


def administered(gateway: Gateway, request: Request[Any, Any, Any]) -> Gateway:
    """Return what `identified` does, for what loads or unloads models.

    Raises NoKey, WrongKey, AdminOnly.
    """
    own, who = _own(gateway, request)
    if not who.admin:
        raise AdminOnly
    return own


def most(gateway: Gateway, passes: int = 1) -> int | None:
    """Return how many pictures a caller's request may have, each drawn so many times; None: any number."""
    each_minute = gateway.caller.images // passes if gateway.caller and gateway.caller.images else None
    return min((one for one in (gateway.config.max_images or None, each_minute) if one is not None), default=None)


def foresee(gateway: Gateway, count: int) -> None:
    """Say before the first of several calls that the last would fail. Raises TooManyRequests."""
    if gateway.caller:
        gateway.image_limits.foresee(gateway.caller.name, gateway.caller.images, count)


def _own(gateway: Gateway, request: Request[Any, Any, Any]) -> tuple[Gateway, Caller]:
    key = gateway.keys.caller(request.headers)
    who = caller(key, request.client.host if request.client else "", gateway.config)
    visit: Visit = request.state.visit
    visit.key = key.name if key else ""
    names = gateway.names.within(who.models)
    client = CallersClient(gateway, who, names.default, visit)
    return replace(gateway, client=client, names=names, caller=who), who


class CallersClient:
    """An ImageClient for one request of one caller. `default` is the model that nameless requests get, or empty."""

    def __init__(self, gateway: Gateway, who: Caller, default: str, visit: Visit) -> None:
        self._client = gateway.client
        self._config = gateway.config
        self._images = gateway.image_limits
        self._who = who
        self._default = default
        self._visit = visit

    async def generate(self, request: pb.GenerateImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all pictures of a request, ordered by index. Raises ServiceError and what `_begin` raises."""
        self._begin(request)
        try:
            response = await self._client.generate(request, request_id)
        except BaseException as error:
            self._hide(error)
            self._visit.failed(error)
            self._give_back(request.count or 1)
            raise
        self._visit.made(response, len(response.images))
        return response

    async def stream(
        self, request: pb.GenerateImagesRequest, previews: pb.Previews | None = None, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Tell what happens until `completed`. Raises ServiceError and what `_begin` raises."""
        self._begin(request)
        missing, done = request.count or 1, False
        try:
            async with aclosing(self._client.stream(request, previews, request_id)) as events:
                async for event in events:
                    missing -= event.HasField("image")
                    if event.HasField("completed"):
                        done = True
                        self._visit.made(event.completed, event.completed.usage.images)
                    yield event
        except BaseException as error:
            self._hide(error)
            if not done:
                self._visit.failed(error)
            raise
        finally:
            self._give_back(missing)

    async def models(self) -> list[pb.Model]:
        """Return the caller's models, its default first. Raises ServiceError."""
        found = await self._client.models()
        if not self._who.models:
            return found
        own = [model for model in found if model.name in self._who.models]
        for model in own:
            model.is_default = model.name == self._default
        return sorted(own, key=lambda model: not model.is_default)

    async def model(self, name: str) -> pb.Model:
        """Return one model; the caller's default for an empty name. Raises ServiceError, ModelNotAllowed."""
        try:
            return await self._client.model(self._allowed(name))
        except ServiceError as error:
            self._hide(error)
            raise

    async def unready(self) -> str:
        """Return why images can't be made now; empty if they can."""
        return await self._client.unready()

    def _begin(self, request: pb.GenerateImagesRequest) -> None:
        """Let a request through, with the key's priority. Raises ModelNotAllowed, TooManyRequests, ServiceError.

        The engine is fair between keys, whatever users they name; without keys between users, or addresses.
        """
        request.model = self._allowed(request.model)
        request.priority = self._who.priority
        request.caller = self._visit.key or request.caller or self._who.name
        self._visit.asked(request)
        bounds.check(request, self._config)
        count, most = request.count or 1, self._who.images
        if 0 < most < count:
            problem = f"must be at most {most}, the pictures that may be had in a minute, not {count}"
            raise ServiceError("", status=400, reason="INVALID_FIELD", violations=[("count", problem)])
        self._visit.headers.update(self._images.take(self._who.name, most, count))

    def _give_back(self, count: int) -> None:
        self._visit.headers.update(self._images.give_back(self._who.name, self._who.images, count))

    def _hide(self, error: BaseException) -> None:
        """Take out of an error the models that the key may not know of: an unknown one is told the key's own."""
        if isinstance(error, ServiceError) and error.reason == "MODEL_NOT_FOUND" and self._who.models:
            name = error.facts.get("model", "")
            error.message = f"there is no model {name!r}; this API key is for {', '.join(self._who.models)}"

    def _allowed(self, name: str) -> str:
        models = self._who.models
        name = name or (self._default if models else "")
        if models and name not in models:
            raise ModelNotAllowed(name, models)
        return name
