"""What is served at `/sdapi/v1`, always at the root of the host: clients put that path there themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, get, post, route
from msgspec import structs

from ..access.admission import administered
from ..http.body import file_body
from ..http.jsonbody import read_json
from ..openapi.operation import JSON
from ..requests.reply import json_response
from ..uploads.previews import enlarged
from . import checkpoints, samplers, stubs
from .checkpoints import Checkpoints
from .description import told
from .drawing import draw
from .errors import NoSuchCheckpoint
from .extras import enlarge, look_up, upscalers
from .reading import read
from .types import Extra, ImageOnly, ImageToImage, Progress, TextToImage
from .webui import WebUi

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ..context import Gateway
    from .jobs import Job

AnyRequest = Request[Any, Any, Any]
BASE = "/sdapi/v1"
KINDS: dict[str, type[TextToImage | ImageToImage]] = {"txt2img": TextToImage, "img2img": ImageToImage}
PREVIEW = "image/png"


def routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return all that is served below `/sdapi/v1`."""
    web = WebUi(gateway, Checkpoints(gateway.names))
    drawing = [_drawing(web, name) for name in KINDS]
    return [*drawing, *_running(web), *_options(web), *_lists(web), *_tools(web), *_nothing(web)]


def _drawing(web: WebUi, name: str) -> HTTPRouteHandler:
    @post(f"{BASE}/{name}", name=f"sdapi:{name}", status_code=200, opt=told(name, "POST"))
    async def drawing(request: AnyRequest) -> Response[Any]:
        return await draw(web, KINDS[name], request)

    return drawing


def _running(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/progress", opt=told("progress", "GET"))
    async def progress(request: AnyRequest) -> Response[bytes]:
        job = web.jobs.current(web.owner(request))
        if job is None:
            return _json(Progress())
        state = job.progress()
        if request.query_params.get("skip_current_image", "").lower() not in ("true", "1"):
            state.current_image = await _shown(job)
        return _json(state)

    @post(f"{BASE}/interrupt", status_code=200, opt=told("interrupt", "POST"))
    async def interrupt(request: AnyRequest) -> Response[bytes]:
        _stop(web, request, everything=True)
        return _json({})

    @post(f"{BASE}/skip", status_code=200, opt=told("skip", "POST"))
    async def skip(request: AnyRequest) -> Response[bytes]:
        _stop(web, request, everything=False)
        return _json(None)

    return [progress, interrupt, skip]


def _options(web: WebUi) -> list[HTTPRouteHandler]:
    # One handler for both methods: Litestar's own answer to OPTIONS names the methods of the first one only.
    @route(f"{BASE}/options", http_method=["GET", "POST"], status_code=200, opt=told("options", "GET", "POST"))
    async def options(request: AnyRequest) -> Response[bytes]:
        if request.method == "POST":
            return await _changed(web, request)
        return _json(checkpoints.options(await web.model(request)))

    return [options]


async def _changed(web: WebUi, request: AnyRequest) -> Response[bytes]:
    models = await web.models(request)
    name = (await read_json(request)).get("sd_model_checkpoint")
    if name:
        found = web.checkpoints.find(str(name), models)
        if found is None:
            raise NoSuchCheckpoint(str(name))
        web.checkpoints.choose(web.owner(request), found)
    return _json(None)


def _lists(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/sd-models", opt=told("sd-models", "GET"))
    async def models(request: AnyRequest) -> Response[bytes]:
        return _json(checkpoints.listed(await web.models(request)))

    @get(f"{BASE}/samplers", opt=told("samplers", "GET"))
    async def sampling(request: AnyRequest) -> Response[bytes]:
        return _json(samplers.listed(await web.model(request)))

    @get(f"{BASE}/schedulers", opt=told("schedulers", "GET"))
    async def schedules(request: AnyRequest) -> Response[bytes]:
        return _json(samplers.listed_schedules(await web.model(request)))

    @get(f"{BASE}/loras", opt=told("loras", "GET"))
    async def loras(request: AnyRequest) -> Response[bytes]:
        names = (await web.model(request)).loras
        return _json([{"name": name, "alias": name, "path": name, "metadata": {}} for name in names])

    @get(f"{BASE}/embeddings", opt=told("embeddings", "GET"))
    async def embeddings(request: AnyRequest) -> Response[bytes]:
        facts = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
        names = (await web.model(request)).embeddings
        return _json({"loaded": dict.fromkeys(names, facts), "skipped": {}})

    return [models, sampling, schedules, loras, embeddings]


def _tools(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/upscalers", opt=told("upscalers", "GET"))
    async def upscaling(request: AnyRequest) -> Response[bytes]:
        web.owner(request)
        return _json(upscalers())

    @post(f"{BASE}/png-info", status_code=200, opt=told("png-info", "POST"))
    async def png_info(request: AnyRequest) -> Response[bytes]:
        web.owner(request)
        asked = read(ImageOnly, await read_json(request))
        return _json(await asyncio.to_thread(look_up, await web.picture(request, asked.image, "image")))

    @post(f"{BASE}/extra-single-image", status_code=200, opt=told("extra-single-image", "POST"))
    async def extra(request: AnyRequest) -> Response[Any]:
        web.owner(request)
        asked = read(Extra, await read_json(request))
        made = await asyncio.to_thread(enlarge, asked, await web.picture(request, asked.image, "image"))
        return json_response(file_body(lambda mark: structs.replace(made, image=mark), made.image), {})

    return [upscaling, png_info, extra]


def _nothing(web: WebUi) -> list[HTTPRouteHandler]:
    got = [
        get(f"{BASE}/{name}", name=f"sdapi:{name}", opt=told(name, "GET"))(_always(web, body))
        for name, body in stubs.GET.items()
    ]
    posted = [
        post(f"{BASE}/{name}", name=f"sdapi:{name}", status_code=200, opt=told(name, "POST"))(
            _always(web, body, admin=name in stubs.ADMIN)
        )
        for name, body in (stubs.POST | stubs.ADMIN).items()
    ]
    return [*got, *posted]


def _always(web: WebUi, body: Any, *, admin: bool = False) -> Any:
    async def always(request: AnyRequest) -> Response[bytes]:
        if admin:
            administered(web.gateway, request)
        web.owner(request)
        return _json(body)

    return always


def _stop(web: WebUi, request: AnyRequest, *, everything: bool) -> None:
    job = web.jobs.current(web.owner(request))
    if job:
        job.stop(everything=everything)


async def _shown(job: Job) -> bytes | None:
    """Return the newest preview in the size of the picture, if there is one."""
    if job.preview is None:
        return None
    shown = await asyncio.to_thread(enlarged, job.preview, job.size, PREVIEW)
    return shown.data


def _json(body: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type=JSON)
