"""OpenAI's Images API, with the fields of compatible servers and tintype's own.

Source: OpenAI's specification of `POST /v1/images/generations`, and what its official SDKs send and read.
Fields that are null count as absent. Responses have no null key, and `size` and `quality` only with the values that
OpenAI's own schema lists: strict clients fail on others.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.reasons import Reason

from ..errors import GatewayError, InvalidValue
from . import openai_events
from .dialect import Call, Dialect, Events, Example, Failure, retry_headers
from .geometry import has_ratio, parse_size, size_of_ratio
from .image_inputs import collect_uploads, control_fields, image_names, parse_images
from .openai_types import (
    QUALITIES,
    SIZES,
    ErrorBody,
    ErrorResponse,
    ImagesRequest,
    ImagesResponse,
    OpenAiImage,
    parse_seed,
    render_usage,
)
from .reading import check_prompt, convert, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Number = TypeVar("Number", int, float)

PATHS = ("/v1/images/generations", "/images/generations")

# Fields of the contract whose JSON key has another name.
NAMES = {
    "count": "n",
    "output.mime_type": "output_format",
    "output.quality": "output_compression",
    "output.alpha": "background",
    "caller": "user",
    "references": "image",
}
# Pairs of keys with one meaning; the second is a name that other servers and clients use.
NUMBERS = (("steps", "num_inference_steps"), ("guidance_scale", "cfg_scale"), ("guidance_scale", "cfg"))
SYNONYMS = (*NUMBERS, ("user", "safety_identifier"))
# Presets that OpenAI accepts for every model: they are dropped if the model has no such preset. Any other name must be
# a preset of the model.
OPTIONAL_PRESETS = {
    "quality": {"low", "medium", "high", "xhigh", "max", "standard", "hd"},
    "style": {"vivid", "natural"},
}
# Prefixes of models whose clients read only `b64_json`.
BASE64_MODELS = ("gpt-image", "chatgpt-image")

BEST_COMPRESSION = 100  # OpenAI's default of `output_compression`

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
# Reason, or name of a gRPC code if the service gives no reason: type, code.
BY_REASON: dict[str, tuple[str, str | None]] = {
    Reason.EMPTY_PROMPT: (INVALID_REQUEST, None),
    Reason.INVALID_VALUE: (INVALID_REQUEST, "invalid_value"),
    Reason.INVALID_FIELD: (INVALID_REQUEST, "invalid_value"),
    "INVALID_ARGUMENT": (INVALID_REQUEST, "invalid_value"),
    "OUT_OF_RANGE": (INVALID_REQUEST, "invalid_value"),
    Reason.UNKNOWN_PARAMETER: (INVALID_REQUEST, "unknown_parameter"),
    Reason.NOT_SERVED: (INVALID_REQUEST, "unsupported_parameter"),
    Reason.UNSUPPORTED: (INVALID_REQUEST, "unsupported_parameter"),
    Reason.INVALID_IMAGE_FILE: (INVALID_REQUEST, "invalid_image_file"),
    Reason.IMAGE_NOT_FETCHED: (INVALID_REQUEST, "invalid_image_url"),
    Reason.MODEL_NOT_FOUND: (INVALID_REQUEST, "model_not_found"),
    "NOT_FOUND": (INVALID_REQUEST, "model_not_found"),
    Reason.MODEL_BROKEN: (SERVER_ERROR, "model_broken"),
    Reason.OUT_OF_MEMORY: (SERVER_ERROR, "out_of_memory"),
    Reason.STORE_FULL: (SERVER_ERROR, "insufficient_storage"),
    Reason.STORE_UNAVAILABLE: (SERVER_ERROR, "storage_unavailable"),
    Reason.WRONG_KEY: (INVALID_REQUEST, "invalid_api_key"),
    Reason.MODEL_NOT_ALLOWED: (INVALID_REQUEST, "permission_denied"),
    Reason.KEY_REUSED: (INVALID_REQUEST, "idempotency_key_reused"),
    Reason.MODERATION_BLOCKED: ("image_generation_user_error", "moderation_blocked"),
    Reason.MODERATION_UNAVAILABLE: (SERVER_ERROR, "moderation_unavailable"),
}
# Status: type, code. Without a row, 5xx are server errors, and the others request errors.
BY_STATUS: dict[int, tuple[str, str | None]] = {
    429: ("requests", "rate_limit_exceeded"),
    504: (SERVER_ERROR, "timeout"),
}


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call of a JSON object. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    return build_call(convert(ImagesRequest, body), unknown_keys(ImagesRequest, body))


def build_call(
    fields: ImagesRequest, ignored: tuple[str, ...], names: Mapping[str, str] = MappingProxyType({})
) -> Call:
    """Return the call of a request with the unknown keys `ignored` and `names` by `item_names`. Raises InvalidValue."""
    _check_consistent(fields)
    request = _build_request(fields)
    images = parse_images(fields.image or None, fields.images or None)
    return Call(
        request=request,
        links=_wants_links(fields),
        names={**_names(fields), **image_names(images), **names},
        ignored=ignored,
        overridden=_overridden(fields, request.width, request.height),
        optional=tuple(name for name, presets in OPTIONAL_PRESETS.items() if getattr(fields, name) in presets),
        stream=bool(fields.stream),
        previews=fields.partial_images or 0 if fields.stream else 0,
        echo=_echo(fields),
        images=images,
        starts=fields.strength is not None,
        start_keys=("strength",) if fields.strength is not None else (),
        uploads=collect_uploads(fields, fields.mask, names),
    )


def render(response: pb.GenerateImagesResponse, call: Call, created: int, links: Sequence[str] = ()) -> ImagesResponse:
    """Return the JSON of finished images; `created` is in Unix seconds, `links` are their URLs, if any."""
    urls = links or (None,) * len(response.images)
    images = [_render_image(image, url) for image, url in zip(response.images, urls, strict=True)]
    body = ImagesResponse(created=created, data=images)
    body.quality = call.request.quality if call.request.quality in QUALITIES else UNSET
    body.background = call.echo.get("background", UNSET)
    body.safety_identifier = call.echo.get("safety_identifier", UNSET)
    if response.images:
        first = response.images[0]
        body.output_format = first.mime_type.removeprefix("image/")
        size = f"{first.width}x{first.height}"
        body.size = size if size in SIZES else UNSET
    if response.HasField("usage"):
        body.usage = render_usage(response.usage)
    return body


def error(exc: GatewayError) -> Failure:
    """Return an error in OpenAI's format, always with all four keys."""
    fallback = BY_STATUS.get(exc.status, (SERVER_ERROR if exc.status >= 500 else INVALID_REQUEST, None))
    kind, code = BY_REASON.get(exc.reason, fallback)
    body = ErrorResponse(ErrorBody(message=exc.message, type=kind, param=exc.param, code=code))
    return Failure(exc.status, retry_headers(exc), body)


def _check_consistent(fields: ImagesRequest) -> None:
    """Raise InvalidValue if fields contradict each other."""
    if fields.background == "transparent" and fields.output_format == "jpeg":
        raise InvalidValue("background", "must be 'opaque' or 'auto' with output_format 'jpeg', not 'transparent'")
    for key, synonym in NUMBERS:
        value, other = getattr(fields, key), getattr(fields, synonym)
        if None not in (value, other) and value != other:
            raise InvalidValue(synonym, f"contradicts '{key}', which is {value}: give one of them")


def _build_request(fields: ImagesRequest) -> pb.GenerateImagesRequest:
    width, height = _sides(fields)
    return pb.GenerateImagesRequest(
        model=fields.model,
        prompt=fields.prompt,
        negative_prompt=fields.negative_prompt,
        count=fields.n,
        width=width,
        height=height,
        steps=_first_set(fields.steps, fields.num_inference_steps),
        guidance_scale=_first_set(fields.guidance_scale, fields.cfg_scale, fields.cfg),
        sampler=fields.sampler,
        schedule=fields.schedule,
        seed=parse_seed(fields.seed),
        strength=fields.strength,
        loras=[pb.Lora(name=lora.name, weight=lora.weight) for lora in fields.loras or ()],
        embeddings=fields.embeddings,
        prompt_weighting=bool(fields.prompt_weighting),
        output=_output(fields),
        caller=fields.user or fields.safety_identifier,
        quality=fields.quality if fields.quality != "auto" else None,
        style=fields.style or None,
        **control_fields(fields),
    )


def _first_set(*values: Number | None) -> Number | None:
    return next((value for value in values if value is not None), None)


def _sides(fields: ImagesRequest) -> tuple[int | None, int | None]:
    """Return width and height: `size` overrides `width` and `height`, and those override `aspect_ratio`."""
    explicit = (fields.width, fields.height)
    sides = explicit if any(explicit) else size_of_ratio(fields.aspect_ratio, "aspect_ratio")
    return parse_size(fields.size) or sides or (None, None)


def _overridden(fields: ImagesRequest, width: int, height: int) -> tuple[str, ...]:
    """Return the keys that other keys override: sizes that differ from the requested one, and links in a stream."""
    ratio = fields.aspect_ratio
    others = {
        "response_format": bool(fields.stream) and fields.response_format == "url",
        "width": fields.width not in (None, width),
        "height": fields.height not in (None, height),
        "aspect_ratio": ratio is not None and not has_ratio((width, height), ratio, "aspect_ratio"),
    }
    return tuple(key for key, differs in others.items() if differs)


def _output(fields: ImagesRequest) -> pb.OutputFormat:
    default = BEST_COMPRESSION if fields.output_format in ("jpeg", "webp") else None
    return pb.OutputFormat(
        mime_type=f"image/{fields.output_format or 'png'}",
        quality=_first_set(fields.output_compression, default),
        alpha=fields.background == "transparent",
    )


def _wants_links(fields: ImagesRequest) -> bool | None:
    """Return whether images are returned as links; None if the request leaves it open. Events have only base64."""
    if fields.response_format is not None:
        return fields.response_format == "url" and not fields.stream
    return False if fields.stream or (fields.model or "").startswith(BASE64_MODELS) else None


def _names(fields: ImagesRequest) -> dict[str, str]:
    """Return NAMES, with the synonym that the client used, if any."""
    used = {
        key: synonym for key, synonym in SYNONYMS if not getattr(fields, key) and getattr(fields, synonym) is not None
    }
    return (
        NAMES | _side_names(fields) | {("caller" if key == "user" else key): synonym for key, synonym in used.items()}
    )


def _side_names(fields: ImagesRequest) -> dict[str, str]:
    if parse_size(fields.size) is None and (fields.width or fields.height):
        return {}
    ratio = fields.aspect_ratio and not parse_size(fields.size)
    return dict.fromkeys(("width", "height"), "aspect_ratio" if ratio else "size")


def _echo(fields: ImagesRequest) -> dict[str, str]:
    """Return the values that the response repeats. Images are always opaque."""
    values = {"background": "opaque" if fields.background else None, "safety_identifier": fields.safety_identifier}
    return {key: value for key, value in values.items() if value}


def _render_image(image: pb.Image, url: str | None) -> OpenAiImage:
    return OpenAiImage(
        url=url or UNSET,
        b64_json=UNSET if url else image.data,
        revised_prompt=image.revised_prompt or UNSET,
        seed=image.seed,
    )


EXAMPLE = Example(
    title="OpenAI",
    about="OpenAI's Images API, with its SDKs. Fields that are not OpenAI's go into the SDK's extra_body.",
    body={
        "prompt": "A serene mountain lake at sunset",
        "size": "512x512",
        "response_format": "b64_json",
        "seed": 7,
    },
    program="""\
import base64
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url="{base}/openai/v1", api_key="none")
answer = client.images.generate(
    prompt="A serene mountain lake at sunset",
    size="512x512",
    response_format="b64_json",
    extra_body={"seed": 7},
)
Path("lake.png").write_bytes(base64.b64decode(answer.data[0].b64_json))
""",
)
EVENTS = Events(openai_events.partial, openai_events.completed)
DIALECT = Dialect(
    name="openai",
    paths=PATHS,
    parse=parse,
    render=render,
    error=error,
    request_type=ImagesRequest,
    response_type=ImagesResponse,
    error_type=ErrorResponse,
    example=EXAMPLE,
    events=EVENTS,
)
