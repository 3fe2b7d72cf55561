"""A client of the image service that counts the usage of one request of one key.

Every API, streams and jobs included, reaches the service through it. Responses that repeat earlier ones do not.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from ..errors import ServiceError
from ..upstream.client import ClientLayer
from .records import Counts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tintype.v1 import image_service_pb2 as pb

    from ..access_record import AccessRecord
    from ..upstream.client import ImageClient
    from ..upstream.model_cache import ModelCache
    from .log import UsageLog


class MeteredClient(ClientLayer):
    """An ImageClient that counts the work of `client` for the key in `record`.

    A request is counted once, when it has made its first images, even if it needs several calls of the service. Images
    that a stream has delivered count even if it fails later. The time of a call that ends early is known for the images
    that were finished.
    """

    def __init__(self, client: ImageClient, models: ModelCache, usage: UsageLog, record: AccessRecord) -> None:
        super().__init__(client)
        self._models, self._usage, self._record = models, usage, record
        self._is_counted = False

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index. Raises ServiceError."""
        response = await self._client.generate(request, request_id)
        counts = _counts(response)
        counts.images, counts.pixels = len(response.images), sum(map(_pixels, response.images))
        self._add(response.model, counts)
        return response

    async def stream(
        self, request: pb.StreamImagesRequest, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`; closing the generator cancels the request. Raises ServiceError."""
        made, done, model = Counts(), None, request.generation.model
        try:
            async with aclosing(self._client.stream(request, request_id)) as events:
                async for event in events:
                    if event.HasField("image"):
                        model = model or await self._default_model()
                        made.add(Counts(images=1, pixels=_pixels(event.image)))
                        made.device_microseconds += _device_microseconds(event.image.timings)
                    elif event.HasField("completed"):
                        done = event.completed
                    yield event
        finally:
            if done:
                made.steps = done.usage.steps
                made.device_microseconds = _device_microseconds(done.timings)
            self._add(done.model if done else model, made)

    async def _default_model(self) -> str:
        """Return the name of the default model, which a stream names only at its end; empty if it is not known."""
        with suppress(ServiceError):
            return (await self._models.get("")).name
        return ""

    def _add(self, model: str, counts: Counts) -> None:
        if not (counts.images or counts.device_microseconds):
            return
        counts.requests = int(not self._is_counted)
        self._is_counted = True
        self._usage.add(self._record.key, model, counts)


def _counts(done: pb.GenerateImagesResponse) -> Counts:
    return Counts(steps=done.usage.steps, device_microseconds=_device_microseconds(done.timings))


def _pixels(image: pb.Image) -> int:
    return image.width * image.height


def _device_microseconds(timings: pb.Timings) -> int:
    """Return the time of encoding, denoising and decoding."""
    return sum(part.ToMicroseconds() for part in (timings.encode, timings.denoise, timings.decode))
