"""One request for pictures, `txt2img` or `img2img`, from its JSON to the answer's."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb

from ..access.admission import admitted, foresee, most
from ..dialects.reading import unknown
from ..http.body import render_body
from ..http.disconnect import until_disconnect
from ..http.jsonbody import read_json
from ..requests.generation import ignored_header
from ..requests.reply import json_response
from .errors import NoInitImage
from .initial import Initial, Patch, prepared
from .jobs import Job
from .making import Making
from .order import Order, order
from .reading import read
from .rendering import render, settings, told
from .types import ImageToImage, TextToImage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar import Request, Response

    from .webui import WebUi

Asked = TextToImage | ImageToImage


@dataclass(frozen=True, slots=True)
class Drawing:
    """A request that is understood: by whom, what, of which model; `unknown` are keys that nobody knows."""

    owner: str
    asked: Asked
    model: pb.Model
    order: Order
    unknown: tuple[str, ...]


async def draw(web: WebUi, kind: type[Asked], request: Request[Any, Any, Any]) -> Response[Any]:
    """Answer one request. Raises GatewayError."""
    own = replace(web, gateway=admitted(web.gateway, request))
    drawing = await _understood(own, request.state.visit.key, kind, await read_json(request))
    return await until_disconnect(request.receive, _drawn(own, drawing, request))


async def _understood(web: WebUi, owner: str, kind: type[Asked], body: Mapping[str, Any]) -> Drawing:
    asked = read(kind, body)
    if isinstance(asked, ImageToImage) and not asked.init_images:
        raise NoInitImage
    model, missed = await _model(web, owner, asked)
    passes = 2 if isinstance(asked, TextToImage) and asked.enable_hr else 1
    ordered = order(asked, model, secrets.randbelow(2**32), most(web.gateway, passes))
    foresee(web.gateway, ordered.drawn)
    ordered.ignored.update(missed)
    return Drawing(owner, asked, model, ordered, unknown(kind, body))


async def _model(web: WebUi, owner: str, asked: Asked) -> tuple[pb.Model, dict[str, str]]:
    """Return the model to use, and a checkpoint that was asked for in vain."""
    models, named = await web.gateway.client.models(), (asked.override_settings or {}).get("sd_model_checkpoint")
    current = web.checkpoints.current(owner, models)
    if not named or not isinstance(named, str):
        return current, {}
    found = web.checkpoints.find(named, models)
    if found is None:
        return current, {"override_settings.sd_model_checkpoint": named[:80]}
    if asked.override_settings_restore_afterwards is False:
        web.checkpoints.choose(owner, found)
    return found, {}


async def _drawn(web: WebUi, drawing: Drawing, request: Request[Any, Any, Any]) -> Response[Any]:
    made, asked = drawing.order.request, drawing.asked
    patch = await _begin(web, made, asked, request) if isinstance(asked, ImageToImage) else None
    defaults, hires = drawing.model.defaults, drawing.order.hires
    size = (hires.width, hires.height) if hires else (made.width or defaults.width, made.height or defaults.height)
    with web.jobs.running(Job(drawing.owner, drawing.order.parts, size)) as job:
        making = Making(web.gateway, drawing.order, job, request.state.request_id)
        images = await making.pictures()
    more = settings(drawing.order, making.ignored)
    infotexts = await asyncio.to_thread(_finished, images, drawing.order, patch, more)
    response = pb.GenerateImagesResponse(images=images)
    body = render_body(
        lambda it: render(asked, drawing.order, drawing.model, it.images, infotexts, more, job.stamp), response
    )
    return json_response(body, ignored_header([*drawing.unknown, *drawing.order.ignored, *making.ignored]))


async def _begin(
    web: WebUi, made: pb.GenerateImagesRequest, asked: ImageToImage, request: Request[Any, Any, Any]
) -> Patch | None:
    """Put the picture to start from into the request; return where results belong, if it is a part of it."""
    image = await web.picture(request, (asked.init_images or [""])[0], "init_images")
    mask = await web.picture(request, asked.mask, "mask") if asked.mask else b""
    initial: Initial = await asyncio.to_thread(prepared, asked, image, mask)
    made.image, made.mask = initial.image, initial.mask
    made.width, made.height = initial.size
    return initial.patch


def _finished(images: Sequence[pb.Image], order: Order, patch: Patch | None, more: Mapping[str, str]) -> list[str]:
    """Put pictures where they belong, and return the infotext of each."""
    for image in images if patch else ():
        image.data = patch.into(image.data) if patch else image.data
        image.width, image.height = patch.whole.size if patch else (image.width, image.height)
    return [told(image, order, more) for image in images]
