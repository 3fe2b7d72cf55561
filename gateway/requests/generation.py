"""Image requests: parse the HTTP body into a draft, call the service, and render its response as JSON."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from ..errors import BadRequest, ServiceError, StoreUnavailable, UnknownParameter
from ..http.disconnect import cancel_on_disconnect
from ..http.forms import is_form, read_form
from ..http.json_request import read_json
from ..http.response_body import render_body
from ..jobs.running_job import running_job
from ..uploads.reading import transparency_mask
from .clip_skip import drop_clip_skip
from .draft import Draft
from .editing import place_images
from .reply import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar import Request

    from tintype.v1 import image_service_pb2 as pb

    from ..context import CallerContext, Gateway
    from ..dialects import Call, Dialect

Result = TypeVar("Result")

_MAX_IGNORED = 32  # keys named in a header


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """One request, parsed in its dialect, with its uploads in the draft."""

    context: CallerContext
    dialect: Dialect
    call: Call
    draft: Draft
    http: Request[Any, Any, Any]

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.http.state.request_id)


async def read_call(context: CallerContext, dialect: Dialect, request: Request[Any, Any, Any]) -> Call:
    """Read one request in its dialect, without its uploads. Raises BadRequest, WrongContentType, ClientGone."""
    form = dialect.forms and is_form(request)
    body = await read_form(request) if form else await read_json(request, forms=dialect.forms)
    if "deployment" in request.path_params:
        body["model"] = body.get("model") or request.path_params["deployment"]
    call = dialect.parse(body)
    config = context.gateway.config
    if call.ignored and config.strict_parameters:
        raise UnknownParameter(call.ignored[0])
    return replace(call, links=config.response_format == "url") if call.links is None else call


async def parse(context: CallerContext, dialect: Dialect, request: Request[Any, Any, Any]) -> ParsedRequest:
    """Read and parse one request in its dialect. Raises BadRequest, WrongContentType, ClientGone."""
    call = await read_call(context, dialect, request)
    draft = Draft(call.request)
    job = running_job(request)
    if job and not call.request.HasField("seed"):
        draft = draft.with_fields(seed=job.seed)
    if call.images or call.uploads:
        base = base_url(context.gateway, request)
        call, draft = await cancel_on_disconnect(request.receive, _with_uploads(context, call, draft, base))
    call, draft = await drop_clip_skip(context, call, draft)
    return ParsedRequest(context, dialect, call, draft, request)


async def generate(parsed: ParsedRequest) -> Reply:
    """Generate one request's images, and render them in its dialect. Raises GatewayError."""
    context, call = parsed.context, parsed.call
    store, base = context.gateway.store, base_url(context.gateway, parsed.http) if call.links else ""
    if call.links and store.problem():  # before any image is generated
        raise StoreUnavailable
    response, draft, dropped_keys = await call_service(
        context, call, parsed.draft, lambda draft: context.client.generate(draft, parsed.id)
    )
    headers = ignored_header([*call.unused, *dropped_keys]) | model_header(call.request.model, response.model)
    headers |= _size_header(response)
    links = await _store_images(context.gateway, response, base) if call.links else []
    effective_call = replace(call, request=draft.effective_request())
    body = render_body(
        lambda message: parsed.dialect.render(message, effective_call, int(time.time()), links), response
    )
    return Reply(body, headers)


async def _with_uploads(context: CallerContext, call: Call, draft: Draft, base: str) -> tuple[Call, Draft]:
    """Read the images that the call names into its draft. Raises InvalidImage, ServiceError."""
    call, draft = await place_images(context, call, draft)
    named = {place: (call.names.get(place, place), source) for place, source in call.uploads.items()}
    draft = draft.with_fields(**await context.gateway.images.read_all(named, base))
    call = replace(call, uploads={})  # the draft has them now
    if call.alpha_strength is None or draft.value("mask"):
        return call, draft
    return await _with_alpha_mask(call, draft, call.alpha_strength)


async def _with_alpha_mask(call: Call, draft: Draft, strength: float) -> tuple[Call, Draft]:
    """Add a mask of the image's transparent parts to the draft, if it has any.

    OpenAI's API defines that an image without a mask is repainted where it is transparent. Raises InvalidImage.
    """
    mask = await asyncio.to_thread(transparency_mask, draft.value("image"), call.names.get("image", "image"))
    if not mask:
        return call, draft
    call = replace(call, optional=(*call.optional, "mask"), implicit=(*call.implicit, "mask"))
    return call, draft.with_fields(mask=mask, strength=strength)


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Return the header that names keys without effect, percent-encoded where they are not plain."""
    keys = ", ".join(quote(key[:100], safe="[]$@", errors="replace") for key in ignored[:_MAX_IGNORED])
    return {"x-tintype-ignored": keys} if keys else {}


def model_header(requested: str, used: str) -> dict[str, str]:
    """Return the header that names the model used, if it differs from the requested name."""
    return {"x-tintype-model": quote(used, safe="/: ")} if requested and requested != used else {}


def _size_header(response: pb.GenerateImagesResponse) -> dict[str, str]:
    """Return the header with the size that the model generated, if the image was resampled from it."""
    for image in response.images:
        native = (image.native_width, image.native_height)
        if all(native) and native != (image.width, image.height):
            return {"x-tintype-native-size": f"{native[0]}x{native[1]}"}
    return {}


async def call_service(
    context: CallerContext, call: Call, draft: Draft, attempt: Callable[[Draft], Awaitable[Result]]
) -> tuple[Result, Draft, list[str]]:
    """Call the service until it accepts the draft; replace an unknown model and drop unsupported optional fields.

    Returns the result, the accepted draft, and the client's keys of the dropped fields. Raises GatewayError.
    """
    draft = draft.with_fields(model=context.names.resolve(draft.model))
    dropped_keys: list[str] = []
    while True:
        try:
            return await attempt(draft), draft, dropped_keys
        except ServiceError as error:
            unsupported = _unsupported_fields(call, draft, error)
            fallback = context.names.fallback(draft.model) if error.status == 404 else None
            if fallback is None and not unsupported:
                raise error.with_client_names(call.names) from error
        draft = draft.with_fields(model=fallback).without(unsupported)
        dropped_keys += [call.names.get(name, name) for name in unsupported if name not in call.implicit]


def _unsupported_fields(call: Call, draft: Draft, error: ServiceError) -> list[str]:
    """Return the optional fields that the service rejects; empty if it rejects other fields as well."""
    faults = {name for name, _ in error.violations} or {error.facts.get("field", "")}
    unsupported = [name for name in call.optional if name in faults and draft.value(name)]
    return unsupported if faults == set(unsupported) else []


async def _store_images(gateway: Gateway, response: pb.GenerateImagesResponse, base: str) -> list[str]:
    files = await gateway.store.put([(image.data, image.mime_type) for image in response.images])
    return [gateway.store.url(file, base) for file in files]


def base_url(gateway: Gateway, request: Request[Any, Any, Any]) -> str:
    """Return the gateway's own URL without a trailing slash: the configured one, or that of the request.

    Raises BadRequest if the requested host is invalid.
    """
    try:
        return (gateway.config.public_url or str(request.base_url)).rstrip("/")
    except ValueError as error:
        raise BadRequest(f"The 'host' header is not a valid host: {error}.") from error
