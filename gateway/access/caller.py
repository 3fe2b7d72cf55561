"""The caller of a request, its limits, and the image service as that caller may use it."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tintype.v1.reasons import Reason

from ..errors import ServiceError
from . import bounds
from .rejections import ModelNotAllowed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tintype.v1 import image_service_pb2 as pb
    from tintype.v1.rates import RateLimits

    from ..access_record import AccessRecord
    from ..config import GatewayConfig
    from ..upstream.client import ImageClient


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the key, where keys are needed, else the address; and what it may. Rates are per minute."""

    name: str
    requests: int
    images: int
    models: tuple[str, ...] = ()
    priority: int = 0
    admin: bool = True


class CallersClient:
    """An ImageClient for one request of one caller. `default` is the model that nameless requests get, or empty."""

    def __init__(
        self,
        client: ImageClient,
        config: GatewayConfig,
        images: RateLimits,
        who: Caller,
        default: str,
        record: AccessRecord,
    ) -> None:
        self._client = client
        self._config = config
        self._images = images
        self._who = who
        self._default = default
        self._record = record

    async def generate(self, request: pb.GenerateImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all pictures of a request, ordered by index. Raises ServiceError and what `_begin` raises."""
        self._begin(request)
        try:
            response = await self._client.generate(request, request_id)
        except BaseException as error:
            self._hide(error)
            self._record.fail(error)
            self._give_back(request.count or 1)
            raise
        self._record.finish(response, len(response.images))
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
                        self._record.finish(event.completed, event.completed.usage.images)
                    yield event
        except BaseException as error:
            self._hide(error)
            if not done:
                self._record.fail(error)
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
        request.caller = self._record.key or request.caller or self._who.name
        self._record.start(request)
        bounds.check(request, self._config)
        count, most = request.count or 1, self._who.images
        if 0 < most < count:
            problem = f"must be at most {most}, the pictures that may be had in a minute, not {count}"
            raise ServiceError("", status=400, reason=Reason.INVALID_FIELD, violations=[("count", problem)])
        self._record.headers.update(self._images.take(self._who.name, most, count))

    def _give_back(self, count: int) -> None:
        self._record.headers.update(self._images.give_back(self._who.name, self._who.images, count))

    def _hide(self, error: BaseException) -> None:
        """Take out of an error the models that the key may not know of: an unknown one is told the key's own."""
        if isinstance(error, ServiceError) and error.reason == Reason.MODEL_NOT_FOUND and self._who.models:
            name = error.facts.get("model", "")
            error.message = f"there is no model {name!r}; this API key is for {', '.join(self._who.models)}"

    def _allowed(self, name: str) -> str:
        models = self._who.models
        name = name or (self._default if models else "")
        if models and name not in models:
            raise ModelNotAllowed(name, models)
        return name
