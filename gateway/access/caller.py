"""The caller of a request, its limits, and a client of the image service that applies them."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tintype.v1.reasons import Reason

from ..errors import ServiceError
from ..upstream.client import collect
from . import bounds
from .rejections import ModelNotAllowed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tintype.v1 import image_service_pb2 as pb
    from tintype.v1.rates import RateLimits

    from ..access_record import AccessRecord
    from ..config import GatewayConfig
    from ..requests.draft import Draft
    from ..upstream.client import ImageClient
    from ..upstream.model_cache import ModelCache


@dataclass(frozen=True, slots=True)
class Caller:
    """The key of a request, or its address if no key is required, with its limits. Rates are per minute."""

    name: str
    requests: int
    images: int
    models: tuple[str, ...] = ()
    priority: int = 0
    admin: bool = True


class CallerClient:
    """A client of the image service for one request of one caller.

    It offers the caller's models only, and counts images towards the caller's rate. `default` is the model of requests
    that name none; empty for the service's own default. `watch` is called with each event of the service.
    """

    def __init__(
        self,
        client: ImageClient,
        models: ModelCache,
        config: GatewayConfig,
        image_rates: RateLimits,
        caller: Caller,
        default: str,
        record: AccessRecord,
        watch: Callable[[pb.StreamImagesResponse], None] | None = None,
    ) -> None:
        self._client = client
        self._models = models
        self._config = config
        self._rates = image_rates
        self._caller = caller
        self._default = default
        self._record = record
        self._watch = watch

    async def generate(self, draft: Draft, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index. Raises ServiceError and the errors of `_admit`."""
        message = self._admit(draft)
        message.omit_progress = self._watch is None
        count = message.generation.count or 1
        try:
            response = await self._generate(message, request_id)
        except BaseException as error:
            self._hide_other_models(error)
            self._record.fail(error)
            self.give_back(count)
            raise
        self._record.finish(response, len(response.images))
        return response

    async def stream(
        self, draft: Draft, previews: pb.Previews | None = None, request_id: str = "", *, progress: bool = True
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, with or without `progress`, the last one `completed`.

        Raises ServiceError and the errors of `_admit`.
        """
        message = self._admit(draft, previews)
        message.omit_progress = not progress
        missing, is_completed = message.generation.count or 1, False
        try:
            async with aclosing(self._watched(self._client.stream(message, request_id))) as events:
                async for event in events:
                    missing -= event.HasField("image")
                    if event.HasField("completed"):
                        is_completed = True
                        self._record.finish(event.completed, event.completed.usage.images)
                    yield event
        except BaseException as error:
            self._hide_other_models(error)
            if not is_completed:
                self._record.fail(error)
            raise
        finally:
            self.give_back(missing)

    async def upscale(self, request: pb.UpscaleImageRequest, request_id: str = "") -> pb.UpscaleImageResponse:
        """Return an enlarged image, which counts as one image of the caller's rate.

        Raises TooManyRequests, ServiceError.
        """
        bounds.check_upscale(request, self._config)
        self.reserve_images(1)
        try:
            response = await self._client.upscale(request, request_id)
        except BaseException as error:
            self._record.fail(error)
            self.give_back(1)
            raise
        self._record.images += 1
        return response

    async def models(self) -> list[pb.Model]:
        """Return the caller's models, its default first. Raises ServiceError."""
        models = await self._client.models()
        if not self._caller.models:
            return models
        allowed_models = [model for model in models if model.name in self._caller.models]
        for model in allowed_models:
            model.is_default = model.name == self._default
        return sorted(allowed_models, key=lambda model: not model.is_default)

    async def model(self, name: str) -> pb.Model:
        """Return one model; the caller's default for an empty name. Raises ServiceError, ModelNotAllowed."""
        return await self._find(self._client.model, name)

    async def load(self, name: str) -> pb.Model:
        """Begin to load a model; return it as it is then. Raises ServiceError, ModelNotAllowed."""
        return await self._find(self._client.load, name)

    async def unload(self, name: str) -> pb.Model:
        """Unload a model when its requests have ended. Raises ServiceError, ModelNotAllowed."""
        return await self._find(self._client.unload, name)

    async def known_model(self, name: str) -> pb.Model:
        """Return one model as of the last seconds, like `model`. Raises ServiceError, ModelNotAllowed."""
        return await self._find(self._models.get, name)

    async def _find(self, lookup: Callable[[str], Awaitable[pb.Model]], name: str) -> pb.Model:
        try:
            return await lookup(self._checked_model(name))
        except ServiceError as error:
            self._hide_other_models(error)
            raise

    async def _generate(self, message: pb.StreamImagesRequest, request_id: str) -> pb.GenerateImagesResponse:
        if self._watch is None:
            return await self._client.generate(message, request_id)
        async with aclosing(self._watched(self._client.stream(message, request_id))) as events:
            return await collect(events)

    async def _watched(
        self, events: AsyncGenerator[pb.StreamImagesResponse]
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        async with aclosing(events):
            async for event in events:
                if self._watch:
                    self._watch(event)
                yield event

    def _admit(self, draft: Draft, previews: pb.Previews | None = None) -> pb.StreamImagesRequest:
        """Return the message to send, and count its images. Raises ModelNotAllowed, TooManyRequests, ServiceError.

        The engine is fair between the callers that requests name: the key; without a key the client's `user`; without
        both the address. So a key gets no larger share by naming many users.
        """
        parsed = draft.parsed
        message = draft.message(
            previews,
            model=self._checked_model(draft.model),
            priority=self._caller.priority,
            caller=self._record.key or parsed.caller or self._caller.name,
            timeout=self._config.timeout,
        )
        generation = message.generation
        self._record.start(generation)
        bounds.check(generation, self._config)
        count, per_minute = generation.count or 1, self._caller.images
        if 0 < per_minute < count:
            problem = f"must be at most {per_minute}, the limit of images per minute, not {count}"
            raise ServiceError("", status=400, reason=Reason.INVALID_FIELD, violations=[("count", problem)])
        self.reserve_images(count)
        return message

    def reserve(self, draft: Draft) -> int:
        """Check a request that is sent later, count its images, and return their number. Raises as `generate` does."""
        return self._admit(draft).generation.count or 1

    def reserve_images(self, count: int) -> None:
        """Count images that are made later. Raises TooManyRequests."""
        self._record.headers.update(self._rates.take(self._caller.name, self._caller.images, count))

    def give_back(self, count: int) -> None:
        """Return images to the caller's rate that were not made."""
        self._record.headers.update(self._rates.give_back(self._caller.name, self._caller.images, count))

    def _hide_other_models(self, error: BaseException) -> None:
        """Replace the model names in a MODEL_NOT_FOUND error by those that the caller may use."""
        if isinstance(error, ServiceError) and error.reason == Reason.MODEL_NOT_FOUND and self._caller.models:
            name = error.facts.get("model", "")
            error.message = f"there is no model {name!r}; this API key is for {', '.join(self._caller.models)}"

    def _checked_model(self, name: str) -> str:
        models = self._caller.models
        name = name or (self._default if models else "")
        if models and name not in models:
            raise ModelNotAllowed(name, models)
        return name
