"""One request for pictures, from the JSON that came to the JSON that goes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from tintype.v1.limits import MAX_FILES

from ..errors import BadRequest, InvalidImage, ServiceError, StoreUnavailable, UnknownParameter
from ..http.body import render_body
from ..http.disconnect import until_disconnect
from ..http.forms import is_form, read_form
from ..http.jsonbody import read_json
from ..uploads.reading import transparency
from .reply import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar import Request

    from tintype.v1 import image_service_pb2 as pb

    from ..context import Gateway
    from ..dialects import Call, Dialect

Result = TypeVar("Result")

_MAX_IGNORED = 32  # keys named in a header


async def prepare(gateway: Gateway, dialect: Dialect, request: Request[Any, Any, Any]) -> Call:
    """Read one request in its dialect. Raises BadRequest, WrongContentType, ClientGone."""
    formed = dialect.forms and is_form(request)
    body = await read_form(request) if formed else await read_json(request, forms=dialect.forms)
    if "deployment" in request.path_params:
        body["model"] = body.get("model") or request.path_params["deployment"]
    call = dialect.parse(body)
    if call.ignored and gateway.config.strict_parameters:
        raise UnknownParameter(call.ignored[0])
    if call.uploads:
        call = await until_disconnect(request.receive, _attach(gateway, call, base_url(gateway, request)))
        call = replace(call, uploads={})  # the request to the service has them now
    return call if call.links is not None else replace(call, links=gateway.config.response_format == "url")


async def generate(gateway: Gateway, dialect: Dialect, call: Call, request: Request[Any, Any, Any]) -> Reply:
    """Have one request's pictures made, and rendered in its dialect. Raises GatewayError."""
    asked, base = call.request.model, base_url(gateway, request) if call.links else ""
    if call.links and gateway.store.problem():  # before any work is done in vain
        raise StoreUnavailable
    asking = partial(gateway.client.generate, call.request, request.state.request_id)
    response, dropped = await granted(gateway, call, asking)
    headers = ignored_header([*call.unused, *dropped]) | model_header(asked, response.model) | _size_header(response)
    links = await _keep(gateway, response, base) if call.links else []
    rendered = render_body(lambda made: dialect.render(made, call, int(time.time()), links), response)
    return Reply(rendered, headers)


async def _attach(gateway: Gateway, call: Call, base: str) -> Call:
    """Put the images of a call into its request.

    Return the call. Raises InvalidImage.
    """
    for field, given in call.uploads.items():
        setattr(call.request, field, await gateway.images.read(given, call.names.get(field, field), base))
    if len(call.request.image) + len(call.request.mask) > MAX_FILES:
        raise InvalidImage(call.names.get("mask", "mask"), f"must, with the image, have at most {MAX_FILES} bytes")
    if call.alpha_strength is None or call.request.mask:
        return call
    return await _self_masked(call, call.alpha_strength)


async def _self_masked(call: Call, strength: float) -> Call:
    """Return the call with a mask from its image's transparency.

    OpenAI defines it so for an image that has transparent parts and comes without a mask. Raises InvalidImage.
    """
    mask = await asyncio.to_thread(transparency, call.request.image, call.names.get("image", "image"))
    if not mask:
        return call
    call.request.mask, call.request.strength = mask, strength
    return replace(call, optional=(*call.optional, "mask"), implicit=(*call.implicit, "mask"))


def ignored_header(ignored: Sequence[str]) -> dict[str, str]:
    """Return the header that names keys without effect, percent-encoded where they are not plain."""
    keys = ", ".join(quote(key[:100], safe="[]$@", errors="replace") for key in ignored[:_MAX_IGNORED])
    return {"x-tintype-ignored": keys} if keys else {}


def model_header(asked: str, taken: str) -> dict[str, str]:
    """Return the header that names the model that was taken, where the client asked for another name."""
    return {"x-tintype-model": quote(taken, safe="/: ")} if asked and asked != taken else {}


def _size_header(response: pb.GenerateImagesResponse) -> dict[str, str]:
    """Return the header that tells which size the model made, where the picture was resampled from it."""
    for image in response.images:
        made = (image.native_width, image.native_height)
        if all(made) and made != (image.width, image.height):
            return {"x-tintype-native-size": f"{made[0]}x{made[1]}"}
    return {}


async def granted(gateway: Gateway, call: Call, ask: Callable[[], Awaitable[Result]]) -> tuple[Result, list[str]]:
    """Ask the service until no wish is left that it can't grant; return its answer, and those wishes' keys.

    Raises GatewayError.
    """
    call.request.model = gateway.names.resolve(call.request.model)
    dropped: list[str] = []
    while True:
        try:
            return await ask(), dropped
        except ServiceError as error:
            unmet = _unmet(call, error)
            fallback = gateway.names.fallback(call.request.model) if error.status == 404 else None
            if fallback is None and not unmet:
                raise error.named(call.names) from error
        call.request.model = call.request.model if fallback is None else fallback
        for wish in unmet:
            call.request.ClearField(wish)
            dropped += [call.names.get(wish, wish)] if wish not in call.implicit else []


def _unmet(call: Call, error: ServiceError) -> list[str]:
    """Return the wishes that a request failed for; none where it failed for anything else, too."""
    faults = {name for name, _ in error.violations} or {error.facts.get("field", "")}
    wishes = [name for name in call.optional if name in faults and getattr(call.request, name)]
    return wishes if faults == set(wishes) else []


async def _keep(gateway: Gateway, response: pb.GenerateImagesResponse, base: str) -> list[str]:
    kept = await gateway.store.put([(image.data, image.mime_type) for image in response.images])
    return [gateway.store.url(stored, base) for stored in kept]


def base_url(gateway: Gateway, request: Request[Any, Any, Any]) -> str:
    """Return the gateway's own URL without a slash at the end: the configured one, else as the request came.

    Raises BadRequest where it came for a host that can't be.
    """
    try:
        return (gateway.config.public_url or str(request.base_url)).rstrip("/")
    except ValueError as error:
        raise BadRequest(f"The header 'host' names no host: {error}.") from error
