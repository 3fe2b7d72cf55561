"""Strict types of the answers of OpenAI's Images and Models API, written from its specification.

Names are the specification's. Only nullable keys may be null, and values are those that it enumerates. Keys that only
tintype has come last in each type; there are no others.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

Format = Literal["png", "webp", "jpeg"]
Size = Literal["1024x1024", "1024x1536", "1536x1024"]
Quality = Literal["low", "medium", "high"]


class Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Forbids unknown keys."""


class Tokens(Strict, kw_only=True):
    text_tokens: int
    image_tokens: int


class ImagesUsage(Strict, kw_only=True):
    total_tokens: int
    input_tokens: int
    output_tokens: int
    input_tokens_details: Tokens


class Image(Strict, kw_only=True):
    b64_json: bytes | UnsetType = UNSET
    url: str | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET
    seed: int | UnsetType = UNSET  # tintype's own


class ImagesResponse(Strict, kw_only=True):
    created: int
    data: list[Image]
    background: Literal["transparent", "opaque"] | UnsetType = UNSET
    output_format: Format | UnsetType = UNSET
    size: Size | UnsetType = UNSET
    quality: Quality | UnsetType = UNSET
    usage: ImagesUsage | UnsetType = UNSET


class Event(Strict, kw_only=True):
    b64_json: bytes
    created_at: int
    size: Size | Literal["auto"]
    quality: Quality | Literal["auto"]
    background: Literal["transparent", "opaque", "auto"]
    output_format: Format
    image_index: int | UnsetType = UNSET  # tintype's own


class ImageGenPartialImageEvent(Event, kw_only=True, tag="image_generation.partial_image"):
    partial_image_index: int


class ImageGenCompletedEvent(Event, kw_only=True, tag="image_generation.completed"):
    usage: ImagesUsage


class ImageEditPartialImageEvent(Event, kw_only=True, tag="image_edit.partial_image"):
    partial_image_index: int


class ImageEditCompletedEvent(Event, kw_only=True, tag="image_edit.completed"):
    usage: ImagesUsage


ImageGenStreamEvent: TypeAlias = ImageGenPartialImageEvent | ImageGenCompletedEvent
ImageEditStreamEvent: TypeAlias = ImageEditPartialImageEvent | ImageEditCompletedEvent


class Error(Strict, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(Strict, kw_only=True):
    error: Error


class Model(Strict, kw_only=True):
    id: str
    created: int
    object: Literal["model"]
    owned_by: str
    type: Literal["image"]  # tintype's own
    state: str  # tintype's own, as those below
    memory_bytes: int | UnsetType = UNSET
    parameters: dict[str, Any]
    capabilities: dict[str, Any]


class ListModelsResponse(Strict, kw_only=True):
    object: Literal["list"]
    data: list[Model]
