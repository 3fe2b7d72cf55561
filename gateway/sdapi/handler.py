"""Handle one request for images, `txt2img` or `img2img`, from its JSON to the response.

The images are made part by part, one call to the service each, while other requests read the progress or stop the job.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_SEED

from ..access.admission import admitted, foresee, most
from ..dialects import Call
from ..dialects.reading import unknown
from ..http.body import render_body
from ..http.disconnect import until, until_disconnect
from ..http.jsonbody import read_json
from ..requests.generation import granted, ignored_header
from ..requests.reply import json_response
from .errors import NoInitImage
from .from_webui import NAMES, OPTIONAL, BatchedRequest, build_request
from .init_image import InitImage, MaskedRegion, prepare
from .request_types import ImageToImage, TextToImage, read
from .response import add_infotext, render, settings
from .state import Job, Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar import Request, Response

    from ..context import Gateway
    from .from_webui import Hires
    from .state import WebUi

GenerationBody = TextToImage | ImageToImage
# Previews of each image; the service makes them from the latents in milliseconds, and a client may read none of them.
PREVIEWS = pb.Previews(count=8, mime_type="image/png")


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A validated request: its key's name as `owner`, its body, its model, and its unknown keys."""

    owner: str
    body: GenerationBody
    model: pb.Model
    batched: BatchedRequest
    unknown: tuple[str, ...]


async def handle(web: WebUi, kind: type[GenerationBody], request: Request[Any, Any, Any]) -> Response[Any]:
    """Return the response to one request. Raises GatewayError."""
    own = replace(web, gateway=admitted(web.gateway, request))
    parsed = await _parsed(own, request.state.record.key, kind, await read_json(request))
    return await until_disconnect(request.receive, _response(own, parsed, request))


async def _parsed(web: WebUi, owner: str, kind: type[GenerationBody], raw: Mapping[str, Any]) -> ParsedRequest:
    body = read(kind, raw)
    if isinstance(body, ImageToImage) and not body.init_images:
        raise NoInitImage
    model, missing = await _model(web, owner, body)
    passes = 2 if isinstance(body, TextToImage) and body.enable_hr else 1
    batched = build_request(body, model, secrets.randbelow(2**32), most(web.gateway, passes))
    foresee(web.gateway, batched.images)
    batched.ignored.update(missing)
    return ParsedRequest(owner, body, model, batched, unknown(kind, raw))


async def _model(web: WebUi, owner: str, body: GenerationBody) -> tuple[pb.Model, dict[str, str]]:
    """Return the model to use, and the checkpoint that the request names if there is none of that name."""
    models, named = await web.gateway.client.models(), (body.override_settings or {}).get("sd_model_checkpoint")
    current = web.checkpoints.current(owner, models)
    if not named or not isinstance(named, str):
        return current, {}
    found = web.checkpoints.find(named, models)
    if found is None:
        return current, {"override_settings.sd_model_checkpoint": named[:80]}
    if body.override_settings_restore_afterwards is False:
        web.checkpoints.select(owner, found)
    return found, {}


async def _response(web: WebUi, parsed: ParsedRequest, request: Request[Any, Any, Any]) -> Response[Any]:
    body, batched, sent_request = parsed.body, parsed.batched, parsed.batched.request
    region = await _attach(web, sent_request, body, request) if isinstance(body, ImageToImage) else None
    with web.jobs.running(Job(parsed.owner, batched.parts, _size(parsed))) as job:
        run = JobRun(web.gateway, batched, job, request.state.request_id)
        images = await run.images()
    more = settings(batched, run.ignored)
    infotexts = await asyncio.to_thread(_finished, images, batched, region, more)
    rendered = render_body(
        lambda response: render(body, batched, parsed.model, response.images, infotexts, more, job.stamp),
        pb.GenerateImagesResponse(images=images),
    )
    return json_response(rendered, ignored_header([*parsed.unknown, *batched.ignored, *run.ignored]))


def _size(parsed: ParsedRequest) -> tuple[int, int]:
    """Return the size of the finished images, in pixels."""
    request, hires, defaults = parsed.batched.request, parsed.batched.hires, parsed.model.defaults
    if hires:
        return hires.width, hires.height
    return request.width or defaults.width, request.height or defaults.height


async def _attach(
    web: WebUi, made: pb.GenerateImagesRequest, body: ImageToImage, request: Request[Any, Any, Any]
) -> MaskedRegion | None:
    """Add the initial image to the request; return the region that results belong into, if any."""
    image = await web.upload(request, (body.init_images or [""])[0], "init_images")
    mask = await web.upload(request, body.mask, "mask") if body.mask else b""
    initial: InitImage = await asyncio.to_thread(prepare, body, image, mask)
    made.image, made.mask = initial.image, initial.mask
    made.width, made.height = initial.size
    return initial.region


def _finished(
    images: Sequence[pb.Image], batched: BatchedRequest, region: MaskedRegion | None, more: Mapping[str, str]
) -> list[str]:
    """Paste images into their region, if any, and return the infotext of each."""
    for image in images if region else ():
        image.data = region.pasted(image.data) if region else image.data
        image.width, image.height = region.whole.size if region else (image.width, image.height)
    return [add_infotext(image, batched, more) for image in images]


@dataclass(slots=True)
class JobRun:
    """One job that is running; `ignored` are the fields that the model does not have."""

    gateway: Gateway
    batched: BatchedRequest
    job: Job
    request_id: str
    ignored: dict[str, str] = field(default_factory=dict)
    _next_part: int = 0

    async def images(self) -> list[pb.Image]:
        """Return the images; of a stopped job, those that are finished. Raises ServiceError."""
        request, hires = pb.GenerateImagesRequest(), self.batched.hires
        request.CopyFrom(self.batched.request)
        call = Call(request, names=NAMES, optional=OPTIONAL)
        if hires:  # the second pass must start from a lossless file
            request.output.mime_type, mime_type = "image/png", request.output.mime_type
        images: list[pb.Image] = []
        for count in self.batched.batches:
            request.count = count
            first = await self._part(call)
            request.seed = (request.seed + count) % (MAX_SEED + 1)
            images += (
                first
                if hires is None
                else [image for one in first for image in await self._part(_second(call, one, hires, mime_type))]
            )
        return images

    async def _part(self, call: Call) -> list[pb.Image]:
        """Return the images of one call to the service; if it is stopped, those that are finished."""
        if self.job.interrupted:
            return []
        self.job.begin(self._next_part, call.request.count)
        self._next_part += 1
        finished: dict[int, pb.Image] = {}
        with suppress(Stopped):
            work = granted(self.gateway, call, partial(self._follow, call, finished))
            _, dropped = await until(self.job.stopped(), work, Stopped)
            self.ignored |= dict.fromkeys(dropped, "")
        return [finished[index] for index in sorted(finished)]

    async def _follow(self, call: Call, finished: dict[int, pb.Image]) -> None:
        """Update the job from the events of a call, and collect its finished images by index."""
        async with aclosing(self.gateway.client.stream(call.request, PREVIEWS, self.request_id)) as events:
            async for event in events:
                self.job.update(event)
                if event.HasField("image"):
                    finished[event.image.index] = event.image


def _second(call: Call, first: pb.Image, hires: Hires, mime_type: str) -> Call:
    """Return the call of the second pass, which makes one image again, larger, from that of the first pass."""
    again = pb.GenerateImagesRequest()
    again.CopyFrom(call.request)
    again.MergeFrom(
        pb.GenerateImagesRequest(
            count=1,
            seed=first.seed,
            image=first.data,
            width=hires.width,
            height=hires.height,
            steps=hires.steps or None,
            earlier_steps=hires.earlier_steps if call.request.prompt_weighting else 0,
            strength=hires.strength,
            output=pb.OutputFormat(mime_type=mime_type),
        )
    )
    return replace(call, request=again)
