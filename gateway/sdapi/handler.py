"""Handle one request for images, `txt2img` or `img2img`, from its JSON to the response.

The images are made in parts, one call to the service each. Meanwhile other requests read the progress or stop the job.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.limits import MAX_SEED

from ..access.admission import admit, check_image_rate, max_images_per_request
from ..dialects import Call
from ..dialects.reading import unknown_keys
from ..http.disconnect import cancel_on_disconnect, cancel_when
from ..http.json_request import read_json
from ..http.response_body import render_body
from ..jobs.running_job import draw_seed, running_job
from ..jobs.submission import Submission, submit, wants_job
from ..requests.draft import Draft
from ..requests.generation import call_service, ignored_header
from ..requests.idempotency import request_key
from ..requests.reply import json_response
from .controlnet.images import check_total, read_units
from .controlnet.unit_keys import unknown_unit_keys
from .errors import NoInitImage, NoSuchCheckpoint
from .from_webui import OPTIONAL, BatchedRequest, build_request
from .init_image import InitImage, MaskedRegion, prepare
from .request_types import ImageToImage, TextToImage, convert
from .response import add_infotext, added_settings, render
from .state import Job, PartStopped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from litestar import Request, Response

    from ..context import CallerContext
    from .from_webui import Hires
    from .state import WebUi

GenerationBody = TextToImage | ImageToImage
# Previews of each image; the service makes them from the latents in milliseconds, and a client may read none of them.
PREVIEWS = pb.Previews(count=8, mime_type="image/png")


@dataclass(frozen=True, slots=True)
class ParsedGeneration:
    """A validated request: its caller's context, body and model, the calls to make, and its unknown keys."""

    context: CallerContext
    body: GenerationBody
    model: pb.Model
    batched: BatchedRequest
    unknown_keys: tuple[str, ...]


async def handle(web: WebUi, kind: type[GenerationBody], request: Request[Any, Any, Any]) -> Response[Any]:
    """Return the response to one request. Raises GatewayError."""
    context = admit(web.gateway, request)
    if wants_job(web.gateway, request):
        response = await submit(
            context, request, await request_key(request), partial(_check, web, context, kind, request)
        )
        if response is not None:
            return response
    parsed = await _parse(web, context, kind, request)
    return await cancel_on_disconnect(request.receive, _respond(web, parsed, request))


async def _check(
    web: WebUi, context: CallerContext, kind: type[GenerationBody], request: Request[Any, Any, Any]
) -> Submission:
    """Check a request that is to become a job, and count its images. Raises GatewayError."""
    parsed = await _parse(web, context, kind, request)
    count = parsed.batched.image_count
    context.client.reserve_images(count)
    return Submission(images=count, model=parsed.model.name, links=False, seed=parsed.batched.request.seed)


async def _parse(
    web: WebUi, context: CallerContext, kind: type[GenerationBody], request: Request[Any, Any, Any]
) -> ParsedGeneration:
    raw, job = await read_json(request), running_job(request)
    body = convert(kind, raw)
    if isinstance(body, ImageToImage) and not body.init_images:
        raise NoInitImage
    model, missing = await _choose_model(web, context, body, job.model if job else "")
    passes = 2 if isinstance(body, TextToImage) and body.enable_hr else 1
    seed = job.seed if job else draw_seed()
    batched = build_request(body, model, seed, max_images_per_request(context, passes))
    check_image_rate(context, batched.image_count)
    batched.ignored.update(missing)
    unknown = unknown_keys(kind, raw) + unknown_unit_keys(body.alwayson_scripts)
    return ParsedGeneration(context, body, model, batched, unknown)


async def _choose_model(
    web: WebUi, context: CallerContext, body: GenerationBody, submitted: str
) -> tuple[pb.Model, dict[str, str]]:
    """Return the model to use, and as ignored the checkpoint that the request names if no model has that name.

    `submitted` is the model that was chosen when a job was submitted.
    """
    models, named = await context.client.models(), (body.override_settings or {}).get("sd_model_checkpoint")
    owner = context.key
    current = _model_of(submitted, models) if submitted else web.checkpoints.current(owner, models)
    if not named or not isinstance(named, str):
        return current, {}
    found = web.checkpoints.find(named, models)
    if found is None:
        return current, {"override_settings.sd_model_checkpoint": named[:80]}
    if submitted:
        return current, {}
    if body.override_settings_restore_afterwards is False:
        web.checkpoints.select(owner, found)
    return found, {}


def _model_of(name: str, models: Sequence[pb.Model]) -> pb.Model:
    found = next((model for model in models if model.name == name), None)
    if found is None:
        raise NoSuchCheckpoint(name)
    return found


async def _respond(web: WebUi, parsed: ParsedGeneration, request: Request[Any, Any, Any]) -> Response[Any]:
    body, batched, region = parsed.body, parsed.batched, None
    draft = Draft(batched.request)
    if isinstance(body, ImageToImage) and batched.init_images.start:
        initial = await _read_init_image(web, body, request)
        batched, draft, region = _apply_init_image(initial, batched)
    draft = await _with_images(web, parsed, draft, region, request)
    with web.jobs.running(Job(parsed.context.key, batched.call_count, _result_size(batched, parsed.model))) as job:
        run = JobRun(parsed.context, batched, job, request.state.request_id)
        images = await run.images(draft)
    added = added_settings(batched, run.ignored)
    infotexts = await asyncio.to_thread(_finish, images, batched, region, added)
    rendered = render_body(
        lambda response: render(body, batched, parsed.model, response.images, infotexts, added, job.stamp),
        pb.GenerateImagesResponse(images=images),
    )
    return json_response(rendered, ignored_header([*parsed.unknown_keys, *batched.ignored, *run.ignored]))


def _result_size(batched: BatchedRequest, model: pb.Model) -> tuple[int, int]:
    """Return the size of the finished images, in pixels."""
    request, hires, defaults = batched.request, batched.hires, model.defaults
    if hires:
        return hires.width, hires.height
    if batched.init_images.references and not (request.width or request.height):
        return 0, 0  # only the service knows
    return request.width or defaults.width, request.height or defaults.height


async def _read_init_image(web: WebUi, body: ImageToImage, request: Request[Any, Any, Any]) -> InitImage:
    """Return the image and mask that the request starts from. Raises InvalidImage."""
    image = await web.upload(request, (body.init_images or [""])[0], "init_images")
    mask = await web.upload(request, body.mask, "mask") if body.mask else b""
    return await asyncio.to_thread(prepare, body, image, mask)


async def _with_images(
    web: WebUi,
    parsed: ParsedGeneration,
    draft: Draft,
    region: MaskedRegion | None,
    request: Request[Any, Any, Any],
) -> Draft:
    """Return a draft with the images to edit and those of the ControlNet extension. Raises InvalidImage."""
    batched, defaults = parsed.batched, parsed.model.defaults
    if not (batched.init_images.references or batched.units.units):
        return draft
    size = (draft.value("width") or defaults.width, draft.value("height") or defaults.height)
    files = await web.read_all(request, batched.init_images.named)
    files |= await read_units(web, request, batched.units.units, size, region)
    check_total([*files.values(), draft.value("image"), draft.value("mask")], "alwayson_scripts.controlnet")
    return draft.with_fields(**files)


def _apply_init_image(initial: InitImage, batched: BatchedRequest) -> tuple[BatchedRequest, Draft, MaskedRegion | None]:
    """Return the request and its draft with an initial image, and the region into which results are pasted, if any."""
    width, height = initial.size
    sized = pb.GenerateImagesRequest()
    sized.CopyFrom(batched.request)
    sized.width, sized.height = width, height
    draft = Draft(sized).with_fields(image=initial.image, mask=initial.mask)
    return replace(batched, request=sized), draft, initial.region


def _finish(
    images: Sequence[pb.Image], batched: BatchedRequest, region: MaskedRegion | None, added: Mapping[str, str]
) -> list[str]:
    """Paste images into the region, if any, and return the infotext of each."""
    for image in images if region else ():
        image.data = region.paste(image.data) if region else image.data
        image.width, image.height = region.whole.size if region else (image.width, image.height)
    return [add_infotext(image, batched, added) for image in images]


@dataclass(slots=True)
class JobRun:
    """A running job; `ignored` are the fields that the model does not have."""

    context: CallerContext
    batched: BatchedRequest
    job: Job
    request_id: str
    ignored: dict[str, str] = field(default_factory=dict)
    _next_part: int = 0

    async def images(self, draft: Draft) -> list[pb.Image]:
        """Return the images; of a stopped job, those that are finished. Raises ServiceError."""
        hires, seed, mime_type = self.batched.hires, draft.value("seed"), draft.value("output").mime_type
        if hires:  # the second pass must start from a lossless file
            draft = draft.with_fields(output=pb.OutputFormat(mime_type="image/png"))
        images: list[pb.Image] = []
        for count in self.batched.batches:
            first, draft = await self._run_part(draft.with_fields(count=count, seed=seed))
            seed = (seed + count) % (MAX_SEED + 1)
            if hires is None:
                images += first
                continue
            for image in first:
                images += (await self._run_part(_second_pass(draft, image, hires, mime_type)))[0]
        return images

    async def _run_part(self, draft: Draft) -> tuple[list[pb.Image], Draft]:
        """Return the images of one call to the service, and the draft that succeeded.

        After a stop, the images are those that were finished.
        """
        if self.job.interrupted:
            return [], draft
        self.job.begin(self._next_part, draft.value("count"))
        self._next_part += 1
        finished: dict[int, pb.Image] = {}
        call = Call(draft.parsed, names=self.batched.names, optional=OPTIONAL)
        with suppress(PartStopped):
            work = call_service(self.context, call, draft, partial(self._collect, finished))
            _, draft, dropped = await cancel_when(self.job.stopped(), work, PartStopped)
            self.ignored |= dict.fromkeys(dropped, "")
        return [finished[index] for index in sorted(finished)], draft

    async def _collect(self, finished: dict[int, pb.Image], draft: Draft) -> None:
        """Update the job from the events of a call, and collect its finished images by index."""
        async with aclosing(self.context.client.stream(draft, PREVIEWS, self.request_id)) as events:
            async for event in events:
                self.job.update(event)
                if event.HasField("image"):
                    finished[event.image.index] = event.image


def _second_pass(draft: Draft, first: pb.Image, hires: Hires, mime_type: str) -> Draft:
    """Return the draft of the second pass, which makes an image of the first pass again, larger."""
    return draft.with_fields(
        count=1,
        seed=first.seed,
        image=first.data,
        width=hires.width,
        height=hires.height,
        steps=hires.steps or None,
        earlier_steps=hires.earlier_steps if draft.value("prompt_weighting") else None,
        strength=hires.strength,
        output=pb.OutputFormat(mime_type=mime_type),
    )
