"""The response of GenerateImages from the responses of StreamImages."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


async def collect(stream: AsyncGenerator[pb.StreamImagesResponse]) -> pb.GenerateImagesResponse:
    """Return the response of GenerateImages from those of StreamImages; closes the stream."""
    result = pb.GenerateImagesResponse()
    images = []
    async with aclosing(stream) as responses:
        async for response in responses:
            if response.HasField("image"):
                images.append(response.image)
            elif response.HasField("completed"):
                done = response.completed
                result = pb.GenerateImagesResponse(model=done.model, usage=done.usage, timings=done.timings)
    result.images.extend(sorted(images, key=lambda image: image.index))
    return result
