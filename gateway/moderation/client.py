"""A client of the image service that moderates each request, whichever API it came by.

The prompt is checked before the service is called. The negative prompt is not: it says what an image must not show.
With `images`, those of a request are checked before, and each finished image before it is passed on. Then there are no
previews, which would show images that may be refused. A refused image ends its request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from contextlib import aclosing
from typing import TYPE_CHECKING

from tintype.v1.image_header import mime_type

from ..http.body_limits import held_bytes
from ..upstream.client import ClientLayer
from .check import ModerationService

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from tintype.v1 import image_service_pb2 as pb

    from ..config import GatewayConfig
    from ..upstream.client import ImageClient

PROMPT, UPLOAD, RESULT = "prompt", "image of the request", "generated image"
ENCODED = 3  # bytes that a check holds per byte of an image, rounded up: as base64, and as JSON
REMEMBERED = 1024  # accepted texts and images of running requests


def moderate(
    client: ImageClient, config: GatewayConfig, count: Callable[[str, str], None]
) -> tuple[ImageClient, list[AbstractAsyncContextManager[object]]]:
    """Return `client`, moderated if the configuration says so, and what to leave when the gateway stops.

    `count` is called with the subject and the outcome of each check. Raises StartError.
    """
    if not config.moderation:
        return client, []
    service = ModerationService.from_config(config, count)
    return ModeratedClient(client, service, images=config.moderate_images), [aclosing(service)]


class ModeratedClient(ClientLayer):
    """An ImageClient that moderates the requests to `client`, and with `images` also images."""

    def __init__(self, client: ImageClient, service: ModerationService, *, images: bool) -> None:
        super().__init__(client)
        self._service, self._images = service, images
        self._accepted: OrderedDict[bytes, None] = OrderedDict()

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images, ordered by index.

        Raises ContentRefused, ModerationUnavailable, TooManyUploads, ServiceError.
        """
        await self._check_request(request, request_id)
        response = await self._client.generate(request, request_id)
        for image in response.images:
            await self._check_result(image, request_id)
        return response

    async def stream(
        self, request: pb.StreamImagesRequest, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`.

        Raises ContentRefused, ModerationUnavailable, TooManyUploads, ServiceError.
        """
        await self._check_request(request, request_id)
        async with aclosing(self._client.stream(request, request_id)) as events:
            async for event in events:
                if event.HasField("image"):
                    await self._check_result(event.image, request_id)
                yield event

    async def upscale(self, request: pb.UpscaleImageRequest, request_id: str = "") -> pb.UpscaleImageResponse:
        """Return an enlarged image; the image of the request is checked, which is the same one.

        Raises ContentRefused, ModerationUnavailable, TooManyUploads, ServiceError.
        """
        if self._images:
            await self._check_image(UPLOAD, request.image, mime_type(request.image) or "image/png", request_id)
        return await self._client.upscale(request, request_id)

    async def _check_request(self, request: pb.StreamImagesRequest, request_id: str) -> None:
        """Check the prompt, and the images of a request; remove its previews if images are checked."""
        prompt = request.generation.prompt
        key = _key(prompt.encode(errors="replace"), request_id)
        if prompt.strip() and key not in self._accepted:
            await self._service.check_text(PROMPT, prompt, request_id)
            self._accept(key)
        if self._images:
            request.ClearField("previews")
            for data in _uploads(request.generation):
                await self._check_image(UPLOAD, data, mime_type(data) or "image/png", request_id)

    async def _check_result(self, image: pb.Image, request_id: str) -> None:
        if self._images:
            await self._check_image(RESULT, image.data, image.mime_type, request_id)

    async def _check_image(self, what: str, data: bytes, kind: str, request_id: str) -> None:
        key = await asyncio.to_thread(_key, data, request_id)
        if key not in self._accepted:
            with held_bytes(ENCODED * len(data), always=what == RESULT):
                await self._service.check_image(what, data, kind, request_id)
            self._accept(key)

    def _accept(self, key: bytes) -> None:
        """Remember that content is accepted: a request may call the service several times.

        It does so with fewer fields, and for each pass and part of the web UI's API.
        """
        self._accepted[key] = None
        while len(self._accepted) > REMEMBERED:
            self._accepted.popitem(last=False)


def _key(content: bytes, request_id: str) -> bytes:
    """Return what identifies content in one request."""
    return hashlib.blake2b(content, key=hashlib.sha256(request_id.encode()).digest(), digest_size=16).digest()


def _uploads(request: pb.GenerateImagesRequest) -> Iterator[bytes]:
    """Yield the images of a request without its mask."""
    if request.image:
        yield request.image
    yield from request.references
    yield from (control.image for control in request.controls)
    yield from (prompt.image for prompt in request.image_prompts)
