"""OpenAI's Images API, with the fields of its compatible servers and our own.

Source: OpenAI's specification of `POST /v1/images/generations`, and what its official SDKs send and read.
Fields that are null count as absent. Answers have no null key, and `size` and `quality` only with the values that
OpenAI's own schema knows: strict clients fail on others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import UNSET

from tintype.v1 import image_service_pb2 as pb

from ..errors import GatewayError, InvalidValue
from . import openai_events
from .dialect import Call, Dialect, Events, Failure
from .geometry import has_ratio, of_ratio, of_size
from .openai_types import (
    QUALITIES,
    SIZES,
    ErrorBody,
    ErrorResponse,
    ImagesRequest,
    ImagesResponse,
    Picture,
    render_usage,
    wanted_seed,
)
from .reading import check_prompt, read, unknown
from .retrying import retry_headers

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
}
# Two keys for one thing: the second is what other servers and clients call it.
NUMBERS = (("steps", "num_inference_steps"), ("guidance_scale", "cfg_scale"), ("guidance_scale", "cfg"))
TWINS = (*NUMBERS, ("user", "safety_identifier"))
# Presets that OpenAI takes for any model: one that has no such thing is asked without. Other names must be its own.
WISHES = {"quality": {"low", "medium", "high", "xhigh", "max", "standard", "hd"}, "style": {"vivid", "natural"}}
# Models whose clients read `b64_json` and nothing else.
BASE64_MODELS = ("gpt-image", "chatgpt-image")

BEST = 100  # OpenAI's default of `output_compression`

INVALID = "invalid_request_error"
SERVER = "server_error"
# reason: type, code
BY_REASON: dict[str, tuple[str, str | None]] = {
    "EMPTY_PROMPT": (INVALID, None),
    "INVALID_VALUE": (INVALID, "invalid_value"),
    "INVALID_FIELD": (INVALID, "invalid_value"),
    "INVALID_ARGUMENT": (INVALID, "invalid_value"),
    "OUT_OF_RANGE": (INVALID, "invalid_value"),
    "UNKNOWN_PARAMETER": (INVALID, "unknown_parameter"),
    "NOT_SERVED": (INVALID, "unsupported_parameter"),
    "UNSUPPORTED": (INVALID, "unsupported_parameter"),
    "INVALID_IMAGE_FILE": (INVALID, "invalid_image_file"),
    "IMAGE_NOT_FETCHED": (INVALID, "invalid_image_url"),
    "MODEL_NOT_FOUND": (INVALID, "model_not_found"),
    "NOT_FOUND": (INVALID, "model_not_found"),
    "MODEL_BROKEN": (SERVER, "model_broken"),
    "OUT_OF_MEMORY": (SERVER, "out_of_memory"),
    "STORE_FULL": (SERVER, "insufficient_storage"),
    "STORE_UNAVAILABLE": (SERVER, "storage_unavailable"),
    "WRONG_KEY": (INVALID, "invalid_api_key"),
    "MODEL_NOT_ALLOWED": (INVALID, "permission_denied"),
    "KEY_REUSED": (INVALID, "idempotency_key_reused"),
    "CONTENT_POLICY_VIOLATION": (INVALID, "content_policy_violation"),
}
# status: type, code; 5xx without a row are the server's, the rest the request's
BY_STATUS: dict[int, tuple[str, str | None]] = {429: ("requests", "rate_limit_exceeded"), 504: (SERVER, "timeout")}


def parse(body: Mapping[str, Any]) -> Call:
    """Return the call that a JSON object asks for. Raises BadRequest, with the key at fault."""
    check_prompt(body)
    return call(read(ImagesRequest, body), unknown(ImagesRequest, body))


def call(asked: ImagesRequest, ignored: tuple[str, ...]) -> Call:
    """Return the call for what was read; `ignored` are the keys that nobody knows. Raises InvalidValue."""
    _refuse(asked)
    request = _request(asked)
    return Call(
        request=request,
        links=_wants_links(asked),
        names=_names(asked),
        ignored=ignored,
        idle=_overruled(asked, request.width, request.height),
        wishes=tuple(name for name, usual in WISHES.items() if getattr(asked, name) in usual),
        stream=bool(asked.stream),
        previews=asked.partial_images or 0 if asked.stream else 0,
        echo=_echo(asked),
        pictures=given(image=asked.image, mask=asked.mask),
    )


def render(response: pb.GenerateImagesResponse, call: Call, created: int, links: Sequence[str] = ()) -> ImagesResponse:
    """Return the JSON of finished pictures; `created` is in Unix seconds, `links` are their URLs, if any."""
    urls = links or (None,) * len(response.images)
    pictures = [_picture(image, url) for image, url in zip(response.images, urls, strict=True)]
    answer = ImagesResponse(created=created, data=pictures)
    answer.quality = call.request.quality if call.request.quality in QUALITIES else UNSET
    answer.background = call.echo.get("background", UNSET)
    answer.safety_identifier = call.echo.get("safety_identifier", UNSET)
    if response.images:
        first = response.images[0]
        answer.output_format = first.mime_type.removeprefix("image/")
        size = f"{first.width}x{first.height}"
        answer.size = size if size in SIZES else UNSET
    if response.HasField("usage"):
        answer.usage = render_usage(response.usage)
    return answer


def error(exc: GatewayError) -> Failure:
    """Return an error as OpenAI's servers answer it: always with the four keys."""
    fallback = BY_STATUS.get(exc.status, (SERVER if exc.status >= 500 else INVALID, None))
    kind, code = BY_REASON.get(exc.reason, fallback)
    body = ErrorResponse(ErrorBody(message=exc.message, type=kind, param=exc.param, code=code))
    return Failure(exc.status, retry_headers(exc), body)


def _refuse(asked: ImagesRequest) -> None:
    """Say what is not served, and what contradicts itself."""
    if asked.background == "transparent" and asked.output_format == "jpeg":
        raise InvalidValue("background", "must be 'opaque' or 'auto' with output_format 'jpeg', not 'transparent'")
    for key, twin in NUMBERS:
        one, other = getattr(asked, key), getattr(asked, twin)
        if None not in (one, other) and one != other:
            raise InvalidValue(twin, f"contradicts '{key}', which is {one}: give one of them")


def _request(asked: ImagesRequest) -> pb.GenerateImagesRequest:
    width, height = _sides(asked)
    return pb.GenerateImagesRequest(
        model=asked.model,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt,
        count=asked.n,
        width=width,
        height=height,
        steps=_first(asked.steps, asked.num_inference_steps),
        guidance_scale=_first(asked.guidance_scale, asked.cfg_scale, asked.cfg),
        sampler=asked.sampler,
        schedule=asked.schedule,
        seed=wanted_seed(asked.seed),
        strength=asked.strength,
        loras=[pb.Lora(name=lora.name, weight=lora.weight) for lora in asked.loras or ()],
        embeddings=asked.embeddings,
        output=_output(asked),
        caller=asked.user or asked.safety_identifier,
        quality=asked.quality if asked.quality != "auto" else None,
        style=asked.style or None,
    )


def given(**pictures: str | bytes | None) -> dict[str, str | bytes]:
    """Return the pictures that there are; an empty one is none."""
    return {name: picture for name, picture in pictures.items() if picture}


def _first(*values: Number | None) -> Number | None:
    return next((value for value in values if value is not None), None)


def _sides(asked: ImagesRequest) -> tuple[int | None, int | None]:
    """Return width and height: `size` goes before the single sides, and they before `aspect_ratio`."""
    single = (asked.width, asked.height)
    sides = single if any(single) else of_ratio(asked.aspect_ratio, "aspect_ratio")
    return of_size(asked.size) or sides or (None, None)


def _overruled(asked: ImagesRequest, width: int, height: int) -> tuple[str, ...]:
    """Return the keys that other keys overrule.

    These are sizes that are not made, and links in a stream.
    """
    ratio = asked.aspect_ratio
    others = {
        "response_format": bool(asked.stream) and asked.response_format == "url",
        "width": asked.width not in (None, width),
        "height": asked.height not in (None, height),
        "aspect_ratio": ratio is not None and not has_ratio((width, height), ratio, "aspect_ratio"),
    }
    return tuple(key for key, differs in others.items() if differs)


def _output(asked: ImagesRequest) -> pb.OutputFormat:
    usual = BEST if asked.output_format in ("jpeg", "webp") else None
    return pb.OutputFormat(
        mime_type=f"image/{asked.output_format or 'png'}",
        quality=_first(asked.output_compression, usual),
        alpha=asked.background == "transparent",
    )


def _wants_links(asked: ImagesRequest) -> bool | None:
    """Return whether links are answered.

    Events have base64 only, whatever is asked for.
    """
    if asked.response_format is not None:
        return asked.response_format == "url" and not asked.stream
    return False if asked.stream or (asked.model or "").startswith(BASE64_MODELS) else None


def _names(asked: ImagesRequest) -> dict[str, str]:
    """Return NAMES, with the key that the client took where there are several."""
    taken = {key: twin for key, twin in TWINS if not getattr(asked, key) and getattr(asked, twin) is not None}
    return NAMES | _side_names(asked) | {("caller" if key == "user" else key): twin for key, twin in taken.items()}


def _side_names(asked: ImagesRequest) -> dict[str, str]:
    if of_size(asked.size) is None and (asked.width or asked.height):
        return {}
    shape = asked.aspect_ratio and not of_size(asked.size)
    return dict.fromkeys(("width", "height"), "aspect_ratio" if shape else "size")


def _echo(asked: ImagesRequest) -> dict[str, str]:
    """Return what the answer repeats. Images are opaque, whatever was asked for."""
    said = {"background": "opaque" if asked.background else None, "safety_identifier": asked.safety_identifier}
    return {key: value for key, value in said.items() if value}


def _picture(image: pb.Image, url: str | None) -> Picture:
    return Picture(
        url=url or UNSET,
        b64_json=UNSET if url else image.data,
        revised_prompt=image.revised_prompt or UNSET,
        seed=image.seed,
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
    events=EVENTS,
)
