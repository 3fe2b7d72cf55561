"""OpenAI's events of a streamed response (`stream: true`).

Source: OpenAI's specification, `image_generation.partial_image` and `image_generation.completed`; the events of edits
have other names and the same keys. All keys are required, and `size` and `quality` are enumerations: other values are
sent as `auto`. If the request is for several images, `image_index`, a key of tintype's own, says which one an event
belongs to.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from .openai_types import QUALITIES, SIZES, Usage, render_usage

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

    from .dialect import Call

PARTIAL, COMPLETED = "image_generation.partial_image", "image_generation.completed"
AUTO, OPAQUE = "auto", "opaque"


class ImageEvent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Fields of both events; `created_at` is in Unix seconds."""

    type: str
    b64_json: bytes
    created_at: int
    size: str
    quality: str
    background: str
    output_format: str


class PartialImage(ImageEvent, kw_only=True, omit_defaults=True):
    """A preview of an image; `partial_image_index` counts the previews of one image from 0."""

    partial_image_index: int
    image_index: int | UnsetType = UNSET


class CompletedImage(ImageEvent, kw_only=True, omit_defaults=True):
    """A finished image. The last of several has the usage of all, the others have zero."""

    usage: Usage
    image_index: int | UnsetType = UNSET


def partial(preview: pb.Preview, call: Call, created: int, *, name: str = PARTIAL) -> PartialImage:
    """Return the event of a preview, which has the size and file type of the image."""
    index = preview.preview_index
    return PartialImage(
        type=name, partial_image_index=index, **_common_fields(preview, call, created), **_image_index(preview, call)
    )


def completed(image: pb.Image, usage: pb.Usage, call: Call, created: int, *, name: str = COMPLETED) -> CompletedImage:
    """Return the event of a finished image."""
    used = render_usage(usage)
    return CompletedImage(type=name, usage=used, **_common_fields(image, call, created), **_image_index(image, call))


edit_partial = functools.partial(partial, name="image_edit.partial_image")
edit_completed = functools.partial(completed, name="image_edit.completed")


def _common_fields(image: pb.Image | pb.Preview, call: Call, created: int) -> dict[str, Any]:
    size, quality = f"{image.width}x{image.height}", call.request.quality
    return {
        "b64_json": image.data,
        "created_at": created,
        "size": size if size in SIZES else AUTO,
        "quality": quality if quality in QUALITIES else AUTO,
        "background": OPAQUE,
        "output_format": image.mime_type.removeprefix("image/"),
    }


def _image_index(image: pb.Image | pb.Preview, call: Call) -> dict[str, Any]:
    return {"image_index": image.index} if call.request.count > 1 else {}
