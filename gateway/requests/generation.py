"""One request for images: from its HTTP body to a draft for the service, and from the service's response to JSON."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from tintype.v1.limits import MAX_FILES

from ..errors import BadRequest, InvalidImage, ServiceError, StoreUnavailable, UnknownParameter
from ..http.disconnect import cancel_on_disconnect
from ..http.forms import is_form, read_form
from ..http.json_request import read_json
from ..http.response_body import render_body
from ..uploads.reading import transparency
from .draft import Draft
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
class Parsed:
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


async def parse(context: CallerContext, dialect: Dialect, request: Request[Any, Any, Any]) -> Parsed:
    """Read and parse one request in its dialect. Raises BadRequest, WrongContentType, ClientGone."""
    form = dialect.forms and is_form(request)
    body = await read_form(request) if form else await read_json(request, forms=dialect.forms)
    if "deployment" in request.path_params:
        body["model"] = body.get("model") or request.path_params["deployment"]
    call = dialect.parse(body)
    config = context.gateway.config
    if call.ignored and config.strict_parameters:
        raise UnknownParameter(call.ignored[0])
    draft = Draft(call.request)
    if call.uploads:
        base = base_url(context.gateway, request)
        call, draft = await cancel_on_disconnect(request.receive, _with_uploads(context.gateway, call, draft, base))
    if call.links is None:
        call = replace(call, links=config.response_format == "url")
    return Parsed(context, dialect, call, draft, request)


async def generate(parsed: Parsed) -> Reply:
    """Generate one request's images, and render them in its dialect. Raises GatewayError."""
    context, call = parsed.context, parsed.call
    store, base = context.gateway.store, base_url(context.gateway, parsed.http) if call.links else ""
    if call.links and store.problem():  # before any image is generated
        raise StoreUnavailable
    response, draft, dropped = await call_service(
        context, call, parsed.draft, lambda draft: context.client.generate(draft, parsed.id)
    )
    headers = ignored_header([*call.unused, *dropped]) | model_header(call.request.model, response.model)
    headers |= _size_header(response)
    links = await _store(context.gateway, response, base) if call.links else []
    granted = replace(call, request=draft.granted())
    body = render_body(lambda made: parsed.dialect.render(made, granted, int(time.time()), links), response)
    return Reply(body, headers)


async def _with_uploads(gateway: Gateway, call: Call, draft: Draft, base: str) -> tuple[Call, Draft]:
    """Return the call and its draft with the images that the call names. Raises InvalidImage."""
    for field, source in call.uploads.items():
        file = await gateway.images.read(source, call.names.get(field, field), base)
        draft = draft.changed(**{field: file})
    if len(draft.value("image")) + len(draft.value("mask")) > MAX_FILES:
        raise InvalidImage(call.names.get("mask", "mask"), f"must, with the image, have at most {MAX_FILES} bytes")
    call = replace(call, uploads={})  # the draft has them now
    if call.alpha_strength is None or draft.value("mask"):
        return call, draft
    return await _masked_by_alpha(call, draft, call.alpha_strength)


async def _masked_by_alpha(call: Call, draft: Draft, strength: float) -> tuple[Call, Draft]:
    """Return the call and its draft with a mask of the image's transparent parts, if it has any.

    OpenAI defines it so for an image that has transparent parts and comes without a mask. Raises InvalidImage.
    """
    mask = await asyncio.to_thread(transparency, draft.value("image"), call.names.get("image", "image"))
    if not mask:
        return call, draft
    call = replace(call, optional=(*call.optional, "mask"), implicit=(*call.implicit, "mask"))
    return call, draft.changed(mask=mask, strength=strength)


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Return the header that names keys without effect, percent-encoded where they are not plain."""
    keys = ", ".join(quote(key[:100], safe="[]$@", errors="replace") for key in ignored[:_MAX_IGNORED])
    return {"x-tintype-ignored": keys} if keys else {}


def model_header(requested: str, used: str) -> dict[str, str]:
    """Return the header that names the model used, if the client requested another name."""
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
    """Call the service, with fallbacks: another model for an unknown name, and without wishes that it can't grant.

    Returns the result, the draft that succeeded, and the client's keys of the dropped wishes. Raises GatewayError.
    """
    draft = draft.changed(model=context.names.resolve(draft.model))
    dropped: list[str] = []
    while True:
        try:
            return await attempt(draft), draft, dropped
        except ServiceError as error:
            unmet = _unmet(call, draft, error)
            fallback = context.names.fallback(draft.model) if error.status == 404 else None
            if fallback is None and not unmet:
                raise error.named(call.names) from error
        draft = draft.changed(model=fallback).without(unmet)
        dropped += [call.names.get(wish, wish) for wish in unmet if wish not in call.implicit]


def _unmet(call: Call, draft: Draft, error: ServiceError) -> list[str]:
    """Return the wishes that a request failed for; empty if it failed for anything else as well."""
    faults = {name for name, _ in error.violations} or {error.facts.get("field", "")}
    wishes = [name for name in call.optional if name in faults and draft.value(name)]
    return wishes if faults == set(wishes) else []


async def _store(gateway: Gateway, response: pb.GenerateImagesResponse, base: str) -> list[str]:
    stored = await gateway.store.put([(image.data, image.mime_type) for image in response.images])
    return [gateway.store.url(one, base) for one in stored]


def base_url(gateway: Gateway, request: Request[Any, Any, Any]) -> str:
    """Return the gateway's own URL without a trailing slash: the configured one, or the one requested.

    Raises BadRequest if the requested host is invalid.
    """
    try:
        return (gateway.config.public_url or str(request.base_url)).rstrip("/")
    except ValueError as error:
        raise BadRequest(f"The 'host' header is not a valid host: {error}.") from error
