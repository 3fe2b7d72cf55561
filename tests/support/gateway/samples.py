"""Sample files, requests to the service and its responses, for tests of the gateway."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from tintype.v1 import image_service_pb2 as pb


def image_file(image_format: str = "PNG", size: tuple[int, int] = (24, 16), mode: str = "RGB", **options: Any) -> bytes:
    """Return an image file in Pillow's format `image_format`."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, image_format, **options)
    return file.getvalue()


LAKE = image_file()
FILES = [(b"one", "image/png"), (b"two!", "image/jpeg"), (b"three", "image/webp")]
B64 = base64.b64encode(LAKE).decode()


def file(data: bytes = LAKE) -> tuple[str, bytes, str]:
    """Return a form part as browsers send it; its name and type do not match its content."""
    return ("x.bin", data, "application/octet-stream")


def request(**fields: Any) -> pb.GenerateImagesRequest:
    """Return the service's request for the prompt `x`, with more `fields`."""
    defaults: dict[str, Any] = {"prompt": "x", "output": pb.OutputFormat(mime_type="image/png")}
    return pb.GenerateImagesRequest(**defaults | fields)


def response(*images: pb.Image, **fields: Any) -> pb.GenerateImagesResponse:
    """Return the service's response: by default one PNG of three bytes."""
    return pb.GenerateImagesResponse(images=images or [pb.Image(data=b"abc", mime_type="image/png")], **fields)
