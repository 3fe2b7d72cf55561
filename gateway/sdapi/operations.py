"""The operations of `/sdapi/v1` for `openapi.json`, and the fixed responses of features that tintype does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..dialects.fields import EXAMPLE_IMAGE
from ..openapi.operation import JSON, TEXT, Media, Operation, ResponseDoc, handler_options
from .request_types import BatchUpscaleRequest, ImageToImage, PngInfoRequest, TextToImage, UpscaleRequest
from .response_types import (
    BatchUpscaleResponse,
    GenerationResponse,
    JobProgress,
    PngInfoResponse,
    UpscaleResponse,
    WebUiError,
)

if TYPE_CHECKING:
    import msgspec

    from ..openapi.operation import Schema

TAG = "sdapi"
_UNKNOWN_MEMORY = {"error": "the gateway cannot see the memory of the machine that makes the images"}

# Fixed responses of paths that clients request for features that tintype does not have.
GET_RESPONSES: dict[str, Any] = {
    "cmd-flags": {"api": True, "nowebui": True},
    "extensions": [],
    "face-restorers": [],
    "hypernetworks": [],
    "latent-upscale-modes": [],
    "memory": {"ram": _UNKNOWN_MEMORY, "cuda": _UNKNOWN_MEMORY},
    "prompt-styles": [],
    "realesrgan-models": [],
    "script-info": [],
    "scripts": {"txt2img": ["controlnet"], "img2img": ["controlnet"]},
    "sd-vae": [],
}
POST_RESPONSES: dict[str, Any] = {
    "refresh-checkpoints": None,
    "refresh-embeddings": None,
    "refresh-loras": None,
    "refresh-vae": None,
}
# Clients use these to free memory or to load a model; they need an admin key.
ADMIN_RESPONSES: dict[str, Any] = {"reload-checkpoint": {}, "unload-checkpoint": {}}

_KEYS, _ADMIN, _MODELS = (401, 500), (401, 403, 500), (401, 500, 501, 503, 504)
_READ = (400, 401, 408, 413, 415, 422, 500)  # errors of requests with a body
_GENERATION = (*_READ, 403, 404, 429, 501, 503, 504)
_ENLARGEMENT = (*_READ, 429, 501, 503, 504)
_NULL: dict[str, Any] = {"type": "null"}


def _operation(
    summary: str,
    response: Schema,
    errors: tuple[int, ...],
    body: type[msgspec.Struct] | dict[str, Any] | None = None,
    example: Any = None,
    **more: Any,
) -> Operation:
    request = {JSON: Media(body, example)} if body else {}
    responses = {200: ResponseDoc("Done", {JSON: Media(response)})}
    return Operation(
        summary=summary,
        tag=TAG,
        request=request,
        responses=responses,
        errors=tuple(sorted(errors)),
        error=WebUiError,
        **more,
    )


def _list_schema(*texts: str, **others: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list of objects, most of whose fields are strings."""
    fields = dict.fromkeys(texts, TEXT) | others
    return {"type": "array", "items": {"type": "object", "properties": fields, "required": sorted(fields)}}


_NAMES = {"type": "array", "items": TEXT}
_OBJECT: dict[str, Any] = {"type": "object"}
_NAMES_OR_NULL = {"anyOf": [_NAMES, _NULL]}
_SKIP_PREVIEW = {"type": "string", "description": "true: without the preview", "default": "false"}
_SETTING = {
    "type": "object",
    "properties": {
        "sd_model_checkpoint": {"description": "Name of the model to use from now on; other settings are ignored"}
    },
}

OPERATIONS: dict[str, Operation] = {
    "POST txt2img": _operation(
        "Make images from text",
        GenerationResponse,
        _GENERATION,
        TextToImage,
        {"prompt": "a mountain lake", "steps": 20, "seed": 7},
    ),
    "POST img2img": _operation(
        "Make images from an image",
        GenerationResponse,
        _GENERATION,
        ImageToImage,
        {"prompt": "a lake", "init_images": [EXAMPLE_IMAGE]},
    ),
    "GET progress": _operation(
        "Get the progress of the current job", JobProgress, _KEYS, query={"skip_current_image": _SKIP_PREVIEW}
    ),
    "POST interrupt": _operation("Stop the current job", _OBJECT, _KEYS),
    "POST skip": _operation("Stop the current part of the current job", _NULL, _KEYS),
    "GET options": _operation("Get the settings", _OBJECT, _MODELS),
    "POST options": _operation(
        "Select the model", _NULL, (*_READ, *_MODELS), _SETTING, {"sd_model_checkpoint": "dall-e-3"}
    ),
    "GET sd-models": _operation("List the models", _list_schema("title", "model_name", "filename"), _MODELS),
    "GET samplers": _operation("List the samplers", _list_schema("name", aliases=_NAMES, options=_OBJECT), _MODELS),
    "GET schedulers": _operation("List the schedules", _list_schema("name", "label", aliases=_NAMES_OR_NULL), _MODELS),
    "GET loras": _operation("List the adapters", _list_schema("name", "alias", "path", metadata=_OBJECT), _MODELS),
    "GET embeddings": _operation("List the embeddings of textual inversion", _OBJECT, _MODELS),
    "GET upscalers": _operation("List the upscalers", _list_schema("name", scale={"type": "integer"}), _KEYS),
    "POST png-info": _operation(
        "Get the infotext of an image", PngInfoResponse, _READ, PngInfoRequest, {"image": EXAMPLE_IMAGE}
    ),
    "POST extra-single-image": _operation(
        "Enlarge an image",
        UpscaleResponse,
        _ENLARGEMENT,
        UpscaleRequest,
        {"image": EXAMPLE_IMAGE, "upscaler_1": "tintype", "upscaling_resize": 2},
    ),
    "POST extra-batch-images": _operation(
        "Enlarge images",
        BatchUpscaleResponse,
        _ENLARGEMENT,
        BatchUpscaleRequest,
        {"imageList": [{"data": EXAMPLE_IMAGE, "name": "lake"}], "upscaler_1": "tintype", "upscaling_resize": 2},
    ),
    **{
        f"{method} {name}": _operation("Report that tintype does not have this feature", {"const": body}, _KEYS)
        for method, bodies in (("GET", GET_RESPONSES), ("POST", POST_RESPONSES))
        for name, body in bodies.items()
    },
    **{
        f"POST {name}": _operation("Do nothing; an admin key is required if keys are", _OBJECT, _ADMIN)
        for name in ADMIN_RESPONSES
    },
}


def described(summary: str, response: dict[str, Any], errors: tuple[int, ...]) -> dict[str, Any]:
    """Return the options of a handler without a request body, elsewhere than below `/sdapi/v1`."""
    return handler_options(_operation(summary, response, errors))


def options_of(name: str, *methods: str) -> dict[str, Any]:
    """Return the options of a handler that serves these methods of a path below `/sdapi/v1`."""
    return handler_options({method: OPERATIONS[f"{method} {name}"] for method in methods})
