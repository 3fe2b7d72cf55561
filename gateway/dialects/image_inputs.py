"""Images in requests: those to edit or to start from, and those that control the result.

An image is text (a URL, a `data:` URL or base64), `{"image_url": …}` in JSON, or a file in a form. Which images a model
takes is decided later (`requests.editing`), so these functions only name and check them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_CONTROLS, MAX_IMAGE_PROMPTS, MAX_REFERENCES, RANGES

from ..errors import InvalidValue
from .dialect import ClientImage
from .fields import EXAMPLE_URL, IMAGE_FILE, IMAGE_SCHEMA, ModelName
from .reading import format_value, item_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .dialect import ImageSource

_NULL = {"type": "null"}
IMAGE_LIST: dict[str, Any] = {
    "type": "array",
    "items": IMAGE_SCHEMA | {"examples": [EXAMPLE_URL]},
    "minItems": 1,
    "maxItems": MAX_REFERENCES,
}
IMAGE_OR_LIST: dict[str, Any] = {"anyOf": [*IMAGE_SCHEMA["anyOf"], IMAGE_LIST]}
OPTIONAL_IMAGE: dict[str, Any] = {"anyOf": [*IMAGE_SCHEMA["anyOf"], _NULL]}
SENT_AS = (
    "Models that edit take as many as max_references of GET /v1/models says; others start from the first. "
    "x-tintype-ignored names the rest"
)

CONTROL_SHAPE = "{name, image, weight, start, end, mode}"

Weight = Annotated[Annotated[float, Meta(ge=0, le=2)] | None, Meta(extra_json_schema={"default": 1})]
_Fraction = Annotated[float, Meta(ge=0, le=1)]
_ControlImage = Annotated[
    Any,
    Meta(examples=[EXAMPLE_URL], extra_json_schema=IMAGE_SCHEMA | {"description": IMAGE_FILE}),
]


class Control(msgspec.Struct, kw_only=True):
    """A ControlNet and the image that it follows, such as edges, depth or a pose."""

    name: Annotated[ModelName, Meta(description="Name of the ControlNet, as GET /v1/models lists it")]
    image: _ControlImage
    weight: Annotated[Weight, Meta(description="Factor of the ControlNet's changes, 0 to 2")] = None
    start: Annotated[
        _Fraction | None,
        Meta(description="Fraction of the steps after which it begins", extra_json_schema={"default": 0}),
    ] = None
    end: Annotated[
        _Fraction | None,
        Meta(description="Fraction of the steps after which it ends", extra_json_schema={"default": 1}),
    ] = None
    mode: Annotated[
        Annotated[int, Meta(ge=0, le=63)] | None,
        Meta(description="Number of the kind, for a ControlNet with several", extra_json_schema={"default": 0}),
    ] = None


class ImagePrompt(msgspec.Struct, kw_only=True):
    """An image that the result resembles, through an IP-Adapter."""

    name: Annotated[ModelName, Meta(description="Name of the IP-Adapter, as GET /v1/models lists it")]
    image: _ControlImage
    weight: Annotated[Weight, Meta(description="Factor of its influence, 0 to 2")] = None


Images = Annotated[
    Annotated[list[Any], Meta(description="a list of 1 to 16 images", max_length=MAX_REFERENCES)] | None,
    Meta(
        description=f"Images to edit or to refer to, each {IMAGE_FILE}; those of image come first. {SENT_AS}",
        extra_json_schema={"anyOf": [IMAGE_LIST, _NULL]},
    ),
]
Controls = Annotated[
    Annotated[
        list[Control], Meta(description=f"a list of at most {MAX_CONTROLS} {CONTROL_SHAPE}", max_length=MAX_CONTROLS)
    ]
    | None,
    Meta(description="ControlNets to apply; their changes add up. Absent: none"),
]
ImagePrompts = Annotated[
    Annotated[
        list[ImagePrompt],
        Meta(
            description=f"a list of at most {MAX_IMAGE_PROMPTS} {{name, image, weight}}", max_length=MAX_IMAGE_PROMPTS
        ),
    ]
    | None,
    Meta(description="Images that the result resembles, through IP-Adapters. Absent: none"),
]
ClipSkip = Annotated[
    Annotated[int, Meta(ge=RANGES["clip_skip"][0], le=RANGES["clip_skip"][1])] | None,
    Meta(
        description="Number of the last layers of CLIP to leave out, beyond those that the model leaves out itself",
        extra_json_schema={"default": 0},
    ),
]


class Controlled(Protocol):
    """A request with the fields that control the result."""

    controls: list[Control] | None
    image_prompts: list[ImagePrompt] | None
    clip_skip: int | None


def parse_images(image: Any, images: Any) -> tuple[ClientImage, ...]:
    """Return the images of the fields `image` and `images`, under the client's names. Raises InvalidValue."""
    fields = (("image", image), ("images", images))
    found = tuple(one for key, value in fields if value is not None for one in _named(value, key))
    if len(found) > MAX_REFERENCES:
        raise InvalidValue("images", f"must be at most {MAX_REFERENCES} images together with 'image', not {len(found)}")
    return found


def require_images(image: Any, images: Any = None) -> tuple[ClientImage, ...]:
    """Return the images, at least one. Raises InvalidValue."""
    found = parse_images(image, images)
    return found or (ClientImage("image", parse_image(None, "image")),)


def image_names(images: Sequence[ClientImage]) -> dict[str, str]:
    """Return the client's names of the first image, and of all of them."""
    return {"image": images[0].key, "references": images[0].key.partition("[")[0]} if images else {}


def _named(value: Any, key: str) -> list[ClientImage]:
    """Return the images of a field, at least one; in a list, each under its number: `image[1]`."""
    values = value if isinstance(value, list) else [value]
    if not values or len(values) > MAX_REFERENCES:
        raise InvalidValue(key, f"must be 1 to {MAX_REFERENCES} images, not {len(values)}")
    keys = item_keys(key, values) if isinstance(value, list) else [key]
    return [ClientImage(name, parse_image(one, name)) for name, one in zip(keys, values, strict=True)]


def _parse_mask(value: Any) -> ImageSource | None:
    """Return the mask; a form may send it as `mask[]`, a list of one item. Raises InvalidValue."""
    if isinstance(value, list) and len(value) > 1:
        raise InvalidValue("mask", f"must be one image, not {len(value)}")
    one = value[0] if isinstance(value, list) and value else value
    return parse_image(one, "mask") if one or isinstance(one, bytes) else None


def parse_image(value: Any, param: str) -> ImageSource:
    """Return an image as the client sent it. Raises InvalidValue."""
    if isinstance(value, dict):
        if value.get("image_url") is None:
            raise InvalidValue(param, _describe_object(value))
        value = value["image_url"]
    if value is None or value in ("", b""):
        raise InvalidValue(param, f"is {'missing' if value is None else 'empty'}, and must be {IMAGE_FILE}")
    if not isinstance(value, str | bytes):
        raise InvalidValue(param, f"must be {IMAGE_FILE}, not {format_value(value)}")
    return value


def _describe_object(value: Mapping[str, Any]) -> str:
    """Return what is wrong with an object that has no `image_url`."""
    if "file_id" in value:
        return "must have 'image_url'; 'file_id' is not supported, since no files are kept"
    sent = ", ".join(repr(key[:40]) for key in list(value)[:4])
    return f"must have 'image_url', a URL, a data: URL or base64, not {sent or 'an empty object'}"


def control_fields(body: Controlled) -> dict[str, Any]:
    """Return the contract's fields that control the result, without images."""
    controls = [
        pb.Control(name=one.name, weight=one.weight, start=one.start, end=one.end, mode=one.mode)
        for one in body.controls or ()
    ]
    prompts = [pb.ImagePrompt(name=one.name, weight=one.weight) for one in body.image_prompts or ()]
    return {"controls": controls, "image_prompts": prompts, "clip_skip": body.clip_skip}


def item_names(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the client's names of the fields of objects in lists, where a form's numbers do not begin with 0."""
    found: dict[str, str] = {}
    lists = {"controls": Control.__struct_fields__, "image_prompts": ImagePrompt.__struct_fields__}
    for key, fields in {**lists, "loras": ("name", "weight")}.items():
        items = body.get(key)
        for index, place in enumerate(item_keys(key, items) if isinstance(items, list) else ()):
            if place != f"{key}[{index}]":
                found |= {f"{key}[{index}].{name}": f"{place}.{name}" for name in fields}
    return found


def collect_uploads(
    body: Controlled, mask: Any = None, names: Mapping[str, str] = MappingProxyType({})
) -> dict[str, ImageSource]:
    """Return the images other than those to edit, by their place in the contract.

    `names` are the client's names of places, where they differ. Raises InvalidValue.
    """
    lists: Mapping[str, Sequence[Control | ImagePrompt] | None]
    lists = {"controls": body.controls, "image_prompts": body.image_prompts}
    found = {
        f"{name}[{index}].image": one.image for name, many in lists.items() for index, one in enumerate(many or ())
    }
    placed = {place: parse_image(image, names.get(place, place)) for place, image in found.items()}
    mask = _parse_mask(mask)
    return {"mask": mask, **placed} if mask else placed
