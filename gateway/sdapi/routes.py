"""Routes of `/sdapi/v1`, always at the root of the host: clients append that path to the host themselves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, get, post, route

from ..access.admission import admit, authenticate, require_admin
from ..context import AnyRequest  # noqa: TC001 - Litestar reads it
from ..http.disconnect import cancel_on_disconnect
from ..http.json_request import read_json
from ..http.response_body import file_body, files_body
from ..openapi.operation import JSON
from ..requests.reply import json_response
from ..uploads.previews import enlarge_preview
from . import samplers
from .controlnet.routes import routes as controlnet_routes
from .errors import NoSuchCheckpoint
from .handler import handle
from .infotext import read_png_info
from .operations import ADMIN_RESPONSES, GET_RESPONSES, POST_RESPONSES, options_of
from .request_types import (
    BatchUpscaleRequest,
    Enlargement,
    ImageToImage,
    PngInfoRequest,
    TextToImage,
    UpscaleRequest,
    convert,
)
from .response_types import BatchUpscaleResponse, JobProgress, UpscaleResponse
from .state import Checkpoints, WebUi, list_models, list_options
from .upscale import TINTYPE, enlarge, list_upscalers, summary

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ..context import Gateway
    from .state import Job

BASE = "/sdapi/v1"
KINDS: dict[str, type[TextToImage | ImageToImage]] = {"txt2img": TextToImage, "img2img": ImageToImage}
PREVIEW = "image/png"


def routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return the routes below `/sdapi/v1`, and those of the ControlNet extension."""
    web = WebUi(gateway, Checkpoints(gateway.names))
    generation = [_generation_route(web, name) for name in KINDS]
    return [
        *generation,
        *_job_routes(web),
        *_options_routes(web),
        *_list_routes(web),
        *_tool_routes(web),
        *_fixed_routes(web),
        *controlnet_routes(web),
    ]


def _generation_route(web: WebUi, name: str) -> HTTPRouteHandler:
    @post(f"{BASE}/{name}", name=f"sdapi:{name}", status_code=200, opt=options_of(name, "POST"))
    async def generation(request: AnyRequest) -> Response[Any]:
        return await handle(web, KINDS[name], request)

    return generation


def _job_routes(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/progress", opt=options_of("progress", "GET"))
    async def progress(request: AnyRequest) -> Response[bytes]:
        job = web.jobs.current(web.owner(request))
        if job is None:
            return _json_response(JobProgress())
        state = job.progress()
        if request.query_params.get("skip_current_image", "").lower() not in ("true", "1"):
            state.current_image = await _enlarged_preview(job)
        return _json_response(state)

    @post(f"{BASE}/interrupt", status_code=200, opt=options_of("interrupt", "POST"))
    async def interrupt(request: AnyRequest) -> Response[bytes]:
        _stop_job(web, request, everything=True)
        return _json_response({})

    @post(f"{BASE}/skip", status_code=200, opt=options_of("skip", "POST"))
    async def skip(request: AnyRequest) -> Response[bytes]:
        _stop_job(web, request, everything=False)
        return _json_response(None)

    return [progress, interrupt, skip]


def _options_routes(web: WebUi) -> list[HTTPRouteHandler]:
    # One handler for both methods: Litestar's own answer to OPTIONS names the methods of the first one only.
    @route(f"{BASE}/options", http_method=["GET", "POST"], status_code=200, opt=options_of("options", "GET", "POST"))
    async def settings(request: AnyRequest) -> Response[bytes]:
        if request.method == "POST":
            return await _select_model(web, request)
        return _json_response(list_options(await web.model(request)))

    return [settings]


async def _select_model(web: WebUi, request: AnyRequest) -> Response[bytes]:
    models = await web.models(request)
    name = (await read_json(request)).get("sd_model_checkpoint")
    if name:
        found = web.checkpoints.find(str(name), models)
        if found is None:
            raise NoSuchCheckpoint(str(name))
        web.checkpoints.select(web.owner(request), found)
    return _json_response(None)


def _list_routes(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/sd-models", opt=options_of("sd-models", "GET"))
    async def models(request: AnyRequest) -> Response[bytes]:
        return _json_response(list_models(await web.models(request)))

    @get(f"{BASE}/samplers", opt=options_of("samplers", "GET"))
    async def sampling(request: AnyRequest) -> Response[bytes]:
        return _json_response(samplers.list_samplers(await web.model(request)))

    @get(f"{BASE}/schedulers", opt=options_of("schedulers", "GET"))
    async def schedules(request: AnyRequest) -> Response[bytes]:
        return _json_response(samplers.list_schedules(await web.model(request)))

    @get(f"{BASE}/loras", opt=options_of("loras", "GET"))
    async def loras(request: AnyRequest) -> Response[bytes]:
        names = (await web.model(request)).loras
        return _json_response([{"name": name, "alias": name, "path": name, "metadata": {}} for name in names])

    @get(f"{BASE}/embeddings", opt=options_of("embeddings", "GET"))
    async def embeddings(request: AnyRequest) -> Response[bytes]:
        facts = dict.fromkeys(("step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"))
        names = (await web.model(request)).embeddings
        return _json_response({"loaded": dict.fromkeys(names, facts), "skipped": {}})

    return [models, sampling, schedules, loras, embeddings]


def _tool_routes(web: WebUi) -> list[HTTPRouteHandler]:
    @get(f"{BASE}/upscalers", opt=options_of("upscalers", "GET"))
    async def upscaling(request: AnyRequest) -> Response[bytes]:
        web.owner(request)
        return _json_response(list_upscalers())

    @post(f"{BASE}/png-info", status_code=200, opt=options_of("png-info", "POST"))
    async def infotext(request: AnyRequest) -> Response[bytes]:
        web.owner(request)
        body = convert(PngInfoRequest, await read_json(request))
        return _json_response(await asyncio.to_thread(read_png_info, await web.upload(request, body.image, "image")))

    @post(f"{BASE}/extra-single-image", status_code=200, opt=options_of("extra-single-image", "POST"))
    async def extra(request: AnyRequest) -> Response[Any]:
        body = convert(UpscaleRequest, await read_json(request))
        (image,) = await _enlarge(web, request, body, {"image": body.image})
        html = summary(body, [image])
        return json_response(file_body(lambda mark: UpscaleResponse(image=mark, html_info=html), image), {})

    @post(f"{BASE}/extra-batch-images", status_code=200, opt=options_of("extra-batch-images", "POST"))
    async def extras(request: AnyRequest) -> Response[Any]:
        body = convert(BatchUpscaleRequest, await read_json(request))
        named = {f"imageList[{number}].data": one.data for number, one in enumerate(body.imageList)}
        images = await _enlarge(web, request, body, named)
        html = summary(body, images)
        return json_response(files_body(lambda marks: BatchUpscaleResponse(images=marks, html_info=html), images), {})

    return [upscaling, infotext, extra, extras]


async def _enlarge(web: WebUi, request: AnyRequest, body: Enlargement, images: dict[str, str]) -> list[bytes]:
    """Return images, whose sources have the names of their fields, in another size. Raises GatewayError."""
    client = (admit if body.upscaler_1 == TINTYPE else authenticate)(web.gateway, request).client
    files = await web.read_all(request, {name: (name, source) for name, source in images.items()})

    async def enlarge_all() -> list[bytes]:
        return [await enlarge(client, body, file, str(request.state.request_id)) for file in files.values()]

    return await cancel_on_disconnect(request.receive, enlarge_all())


def _fixed_routes(web: WebUi) -> list[HTTPRouteHandler]:
    gets = [
        get(f"{BASE}/{name}", name=f"sdapi:{name}", opt=options_of(name, "GET"))(_fixed_response(web, body))
        for name, body in GET_RESPONSES.items()
    ]
    posts = [
        post(f"{BASE}/{name}", name=f"sdapi:{name}", status_code=200, opt=options_of(name, "POST"))(
            _fixed_response(web, body, admin=name in ADMIN_RESPONSES)
        )
        for name, body in (POST_RESPONSES | ADMIN_RESPONSES).items()
    ]
    return [*gets, *posts]


def _fixed_response(web: WebUi, body: Any, *, admin: bool = False) -> Any:
    async def always(request: AnyRequest) -> Response[bytes]:
        if admin:
            require_admin(web.gateway, request)
        web.owner(request)
        return _json_response(body)

    return always


def _stop_job(web: WebUi, request: AnyRequest, *, everything: bool) -> None:
    job = web.jobs.current(web.owner(request))
    if job:
        job.stop(everything=everything)


async def _enlarged_preview(job: Job) -> bytes | None:
    """Return the newest preview in the size of the image, if there is one."""
    if job.preview is None:
        return None
    preview = await asyncio.to_thread(enlarge_preview, job.preview, job.size, PREVIEW)
    return preview.data


def _json_response(body: Any) -> Response[bytes]:
    return Response(msgspec.json.encode(body), media_type=JSON)
