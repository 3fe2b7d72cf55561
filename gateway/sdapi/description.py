"""What `/openapi.json` tells of `/sdapi/v1`: what clients send there and read, by the same types."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .types import Enlarged, Extra, ImageOnly, ImageToImage, Pictures, PngInfo, Progress, TextToImage

if TYPE_CHECKING:
    import msgspec


class Described(NamedTuple):
    """One path below `/sdapi/v1`."""

    method: str
    path: str
    summary: str
    asks: type[msgspec.Struct] | None
    answers: type[msgspec.Struct]


DESCRIBED = (
    Described("post", "txt2img", "Make pictures from text", TextToImage, Pictures),
    Described("post", "img2img", "Make pictures from a picture", ImageToImage, Pictures),
    Described("get", "progress", "Tell how far it is", None, Progress),
    Described("post", "png-info", "Tell how a picture was made", ImageOnly, PngInfo),
    Described("post", "extra-single-image", "Enlarge a picture", Extra, Enlarged),
)
