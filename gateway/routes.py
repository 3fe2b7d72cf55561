"""Routes other than image generation: models, result files, health probes, metrics, pages, API description."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response, post, route
from litestar.response import Stream

from .access.admission import authenticate, require_admin
from .context import AnyRequest  # noqa: TC001 - Litestar reads it
from .dialects.openai_models import ModelList, ModelName, ModelObject, render_model, render_models
from .errors import InvalidValue, ServiceError
from .health import health_routes
from .http.body_limits import hold_bytes
from .http.json_request import read_json
from .metrics import PROMETHEUS
from .openapi.document import document
from .openapi.operation import JSON, TEXT, Media, Operation, ResponseDoc, handler_options
from .pages import READ_METHODS, pages
from .results.store import EXTENSIONS
from .settings.clients import SHARED_PATH_DIALECTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from litestar.handlers import HTTPRouteHandler

    from tintype.v1 import image_service_pb2 as pb

    from .context import CallerContext, Gateway
    from .dialects import Dialect
    from .error_handlers import ErrorHandlers
    from .metrics import Metrics
    from .results.store import FileContent

PIECE = 2**18  # bytes that are sent in one piece
# Headers of results: any page may show them, but a result can't run scripts.
EMBEDDABLE = {
    "cross-origin-resource-policy": "cross-origin",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}

_LOOKUP = (401, 500, 501, 503, 504)  # error statuses of requests about models
LIST_MODELS = Operation(
    summary="List the models", responses={200: ResponseDoc("The models", {JSON: Media(ModelList)})}, errors=_LOOKUP
)
GET_MODEL = Operation(
    summary="Get one model",
    text="Names may contain slashes.",
    parameters={"name": TEXT | {"description": "Name of the model, or an alias such as dall-e-3"}},
    responses={200: ResponseDoc("The model", {JSON: Media(ModelObject)})},
    errors=(404, *_LOOKUP),
)
_MODEL_NAME = {JSON: Media(ModelName, {"model": "dall-e-3"})}
_MODEL_CHANGE = (400, 403, 404, 408, 413, 415, 429, *_LOOKUP)
LOAD_MODEL = Operation(
    summary="Begin to load a model into memory",
    text="The answer comes at once: `state` and `load_fraction` of the model tell when it is done. "
    "Needs an admin key if keys are required.",
    request=_MODEL_NAME,
    responses={200: ResponseDoc("The model", {JSON: Media(ModelObject)})},
    errors=_MODEL_CHANGE,
)
UNLOAD_MODEL = Operation(
    summary="Unload a model from memory",
    text="It is unloaded when the requests that use it have ended. Needs an admin key if keys are required.",
    request=_MODEL_NAME,
    responses={200: ResponseDoc("The model", {JSON: Media(ModelObject)})},
    errors=_MODEL_CHANGE,
)
GET_FILE = Operation(
    summary="Fetch a result",
    text="Links are in the responses to requests for images. They need no key.",
    parameters={
        "access": TEXT | {"description": "Expiry and signature of the link"},
        "name": TEXT | {"description": "The file's name, which ends in its type"},
    },
    responses={
        200: ResponseDoc("The file", {mime: Media(TEXT | {"format": "binary"}) for mime in EXTENSIONS}, ("etag",)),
        304: ResponseDoc("The file has not changed since the version in If-None-Match", headers=("etag",)),
        307: ResponseDoc("The file is in a store that clients can reach", headers=("location",)),
    },
    errors=(404, 500, 503),
    open=True,
)
METRICS = Operation(
    summary="Get metrics for Prometheus",
    responses={200: ResponseDoc("The metrics", {"text/plain": Media(TEXT)})},
    errors=(401,),
)
API_DESCRIPTION = Operation(
    summary="Describe the API",
    responses={200: ResponseDoc("This document", {JSON: Media({"type": "object"})})},
    open=True,
)


def routes(gateway: Gateway, metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the routes of models, result files, probes and metrics."""
    return [
        *_model_routes(gateway),
        _file_route(gateway),
        *health_routes(gateway, metrics),
        _metrics_route(gateway, metrics),
    ]


def with_pages(
    gateway: Gateway, dialects: Mapping[str, Dialect], errors: ErrorHandlers, handlers: Sequence[HTTPRouteHandler]
) -> list[HTTPRouteHandler]:
    """Return these routes, those of the pages, and that of the API description, which covers all of them."""
    endpoints = {
        "images": {path: dialect.name for path, dialect in dialects.items()},
        "models": "/v1/models",
        "upscales": "/v1/images/upscales",
        "jobs": "/v1/jobs",
        "description": "/openapi.json",
        "documentation": "/docs",
        "health": ["/livez", "/readyz", "/health"],
        "version": "/version",
    }

    @route("/openapi.json", http_method=READ_METHODS, opt=handler_options(API_DESCRIPTION))
    async def openapi() -> Response[bytes]:
        return Response(description, media_type=JSON)

    handlers = [*handlers, *pages(_encode({"name": "tintype", "endpoints": endpoints})), openapi]
    description = _encode(document(handlers, errors.dialect_of, keys=gateway.config.keys is not None))
    return handlers


def _model_routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    bases = ["/v1", "", *(f"/{name}/v1" for name in SHARED_PATH_DIALECTS)]
    list_paths, model_paths = [f"{base}/models" for base in bases], [f"{base}/models/{{name:path}}" for base in bases]

    @route(list_paths, http_method=READ_METHODS, opt=handler_options(LIST_MODELS, list_paths))
    async def models(request: AnyRequest) -> Response[bytes]:
        context = authenticate(gateway, request)
        served = await context.client.models()
        aliases = context.names.aliases_of([model.name for model in served]) if gateway.config.list_aliases else {}
        return _json(render_models(served, aliases))

    @route(model_paths, http_method=READ_METHODS, opt=handler_options(GET_MODEL, model_paths))
    async def model(request: AnyRequest) -> Response[bytes]:
        context = authenticate(gateway, request)
        name = str(request.path_params["name"]).lstrip("/")
        return _json(render_model(await _find_model(context, context.names.resolve(name)), name))

    return [models, model, _change_route(gateway, "load", bases), _change_route(gateway, "unload", bases)]


def _change_route(gateway: Gateway, verb: str, bases: Sequence[str]) -> HTTPRouteHandler:
    operation = {"load": LOAD_MODEL, "unload": UNLOAD_MODEL}[verb]
    paths = [f"{base}/models/{verb}" for base in bases]

    @post(paths, name=f"models:{verb}", status_code=200, opt=handler_options(operation, paths))
    async def change(request: AnyRequest) -> Response[bytes]:
        context = require_admin(gateway, request)
        name = (await read_json(request)).get("model")
        if not isinstance(name, str) or not name:
            raise InvalidValue("model", "must be the name of a model, as GET /v1/models lists it")
        act = context.client.load if verb == "load" else context.client.unload
        found = await _find_model(context, context.names.resolve(name))
        return _json(render_model(await act(found.name), name))

    return change


async def _find_model(context: CallerContext, name: str) -> pb.Model:
    """Return the model of a name, or its fallback. Raises ServiceError."""
    try:
        return await context.client.model(name)
    except ServiceError as error:
        fallback = context.names.fallback(name) if error.status == 404 else None
        if fallback is None:
            raise
    return await context.client.model(fallback)


def _file_route(gateway: Gateway) -> HTTPRouteHandler:
    @route("/files/{access:str}/{name:str}", http_method=READ_METHODS, opt=handler_options(GET_FILE))
    async def file(request: AnyRequest) -> Response[bytes]:
        name, access = str(request.path_params["name"]), str(request.path_params["access"])
        url = await gateway.store.redirect_url(name, access, request.method)
        if url:
            return Response(b"", status_code=307, headers={"location": url, "cache-control": "no-store", **EMBEDDABLE})
        content = await gateway.store.open(name, access)
        headers = {
            "etag": content.etag,
            "cache-control": f"private, max-age={content.remaining}, immutable",
            **EMBEDDABLE,
        }
        if content.etag in request.headers.get("if-none-match", ""):
            return Response(b"", status_code=304, media_type=content.mime_type, headers=headers)
        hold_bytes(len(content.data))
        return _file_response(content, headers, request.method)

    return file


def _metrics_route(gateway: Gateway, metrics: Metrics) -> HTTPRouteHandler:
    @route("/metrics", http_method=READ_METHODS, opt=handler_options(METRICS))
    async def metrics_text(request: AnyRequest) -> Response[bytes]:
        authenticate(gateway, request)  # metrics name models, so they need a key like `/v1/models`
        return Response(metrics.text(), media_type=PROMETHEUS)

    return metrics_text


def _file_response(content: FileContent, headers: dict[str, str], method: str) -> Response[Any]:
    """Return the response with a file; it is sent in pieces, so that a slow client makes the server buffer only one."""
    if method == "HEAD" or len(content.data) <= PIECE:
        return Response(content.data, status_code=200, media_type=content.mime_type, headers=headers)
    size = {"content-length": str(len(content.data))}
    return Stream(_pieces(content.data), media_type=content.mime_type, headers=headers | size)


async def _pieces(data: bytes) -> AsyncGenerator[bytes]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        yield bytes(view[start : start + PIECE])


def _encode(body: Any) -> bytes:
    return msgspec.json.encode(body)


def _json(body: Any, status: int = 200) -> Response[bytes]:
    return Response(_encode(body), status_code=status, media_type=JSON)
