"""What `/openapi.json` tells of `/sdapi/v1`: what clients send and read, by the same types, and what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dialects.words import LAKE
from ..openapi.operation import JSON, TEXT, Answer, Media, Operation, described
from . import stubs
from .errors import WebUiError
from .types import Enlarged, Extra, ImageOnly, ImageToImage, Pictures, PngInfo, Progress, TextToImage

if TYPE_CHECKING:
    import msgspec

    from ..openapi.operation import Kind

TAG = "sdapi"
_KEYS, _ADMIN, _MODELS = (401, 500), (401, 403, 500), (401, 500, 501, 503, 504)
_READ = (400, 401, 408, 413, 415, 422, 500)  # what goes wrong with a body
_DRAWN = (*_READ, 403, 404, 429, 501, 503, 504)
_NULL: dict[str, Any] = {"type": "null"}


def _operation(
    summary: str,
    answer: Kind,
    errors: tuple[int, ...],
    asks: type[msgspec.Struct] | dict[str, Any] | None = None,
    example: Any = None,
    **more: Any,
) -> Operation:
    request = {JSON: Media(asks, example)} if asks else {}
    told = {200: Answer("Done", {JSON: Media(answer)})}
    return Operation(
        summary=summary, tag=TAG, request=request, answers=told, errors=tuple(sorted(errors)), error=WebUiError, **more
    )


def _listing(*texts: str, **others: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of objects, of whose fields most are texts."""
    fields = dict.fromkeys(texts, TEXT) | others
    return {"type": "array", "items": {"type": "object", "properties": fields, "required": sorted(fields)}}


_NAMES = {"type": "array", "items": TEXT}
_OBJECT: dict[str, Any] = {"type": "object"}
_MAYBE_NAMES = {"anyOf": [_NAMES, _NULL]}
_SKIPPED = {"type": "string", "description": "true leaves the preview out", "default": "false"}
_SETTING = {
    "type": "object",
    "properties": {
        "sd_model_checkpoint": {"description": "Name of the model to use from now on; other settings are passed over"}
    },
}

OPERATIONS: dict[str, Operation] = {
    "POST txt2img": _operation(
        "Make images from text", Pictures, _DRAWN, TextToImage, {"prompt": "a mountain lake", "steps": 20, "seed": 7}
    ),
    "POST img2img": _operation(
        "Make images from an image", Pictures, _DRAWN, ImageToImage, {"prompt": "a lake", "init_images": [LAKE]}
    ),
    "GET progress": _operation("Tell how far it is", Progress, _KEYS, query={"skip_current_image": _SKIPPED}),
    "POST interrupt": _operation("Stop what is being made", _OBJECT, _KEYS),
    "POST skip": _operation("Stop the current part of what is being made", _NULL, _KEYS),
    "GET options": _operation("Tell the settings", _OBJECT, _MODELS),
    "POST options": _operation(
        "Choose the model", _NULL, (*_READ, *_MODELS), _SETTING, {"sd_model_checkpoint": "dall-e-3"}
    ),
    "GET sd-models": _operation("List the models", _listing("title", "model_name", "filename"), _MODELS),
    "GET samplers": _operation("List the samplers", _listing("name", aliases=_NAMES, options=_OBJECT), _MODELS),
    "GET schedulers": _operation("List the schedules", _listing("name", "label", aliases=_MAYBE_NAMES), _MODELS),
    "GET loras": _operation("List the adapters", _listing("name", "alias", "path", metadata=_OBJECT), _MODELS),
    "GET embeddings": _operation("List the embeddings of textual inversion", _OBJECT, _MODELS),
    "GET upscalers": _operation("List the ways to enlarge", _listing("name", scale={"type": "integer"}), _KEYS),
    "POST png-info": _operation("Tell how an image was made", PngInfo, _READ, ImageOnly, {"image": LAKE}),
    "POST extra-single-image": _operation(
        "Enlarge an image", Enlarged, _READ, Extra, {"image": LAKE, "upscaler_1": "Lanczos", "upscaling_resize": 2}
    ),
    **{
        f"{method} {name}": _operation("Say that there is nothing", {"const": body}, _KEYS)
        for method, bodies in (("GET", stubs.GET), ("POST", stubs.POST))
        for name, body in bodies.items()
    },
    **{
        f"POST {name}": _operation("Do nothing; an admin key is required if keys are", _OBJECT, _ADMIN)
        for name in stubs.ADMIN
    },
}


def told(name: str, *methods: str) -> dict[str, Any]:
    """Return the handler options for one path below `/sdapi/v1`.

    The handler serves these methods.
    """
    return described({method: OPERATIONS[f"{method} {name}"] for method in methods})
