"""The REST gateway as an application: what is served where.

Which dialect has which path is `dialects.bound`'s to say; all else is listed in `_routes`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Litestar, Request, Response, get, post, route

from . import sdapi
from .admission import identified
from .answering import answer
from .config import SHARING, GatewayConfig
from .cors import Cors
from .dialects import DIALECTS, bound
from .dialects.openai_models import render_model, render_models
from .envelope import Envelope
from .errors import GatewayError
from .failures import Failures
from .generation import JSON, Gateway
from .keys import Keys
from .limits import Limits
from .metrics import TEXT, CountedClient, Measured, Metrics
from .names import Names
from .openapi import document
from .pages import pages
from .patience import Unhurried
from .pictures import Pictures
from .repeats import Repeats
from .stores import local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from .client import ImageClient
    from .dialects import Dialect
    from .files import Store

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
# A result may be shown by any page, and runs nothing.
EMBEDDED = {
    "cross-origin-resource-policy": "cross-origin",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
# Azure's paths: there a model is a deployment, and its name may stand in the path alone.
AZURE = ("/openai/images/", "/openai/deployments/{deployment:str}/images/")
SWEEP_EVERY = 60.0  # seconds, or less where links live shorter


def create_app(config: GatewayConfig, client: ImageClient, store: Store | None = None) -> Litestar:
    """Return the application; `store` keeps results by link, by default in the data folder.

    Closing `client` is its owner's business. Raises StartError where the data folder can't be used.
    """
    store = store or local(config)
    names = Names(config.names, config.strict_models)
    pictures = Pictures.configured(config, store)
    repeats = Repeats(config.url_ttl)
    limits, image_limits = Limits("requests"), Limits("images")
    metrics = Metrics()
    keys = Keys(config.key_file, optional=config.keys is None, api_key=config.api_key)
    gateway = Gateway(
        config, CountedClient(client, metrics), store, names, keys, limits, image_limits, repeats, pictures
    )
    dialects = bound(config.dialect)
    app = Litestar(
        [*_images(gateway, dialects), *_routes(gateway, dialects), *sdapi.routes(gateway), _counted(gateway, metrics)],
        exception_handlers=Failures(dialects, DIALECTS[config.dialect]).handlers(),
        request_max_body_size=config.max_body,
        openapi_config=None,
        logging_config=None,
        lifespan=[_sweeping(store, min(SWEEP_EVERY, max(1.0, config.url_ttl / 4)))],
    )
    inner = Cors(Unhurried(app.asgi_handler, config.receive_timeout), config.origins)
    app.asgi_handler = Measured(Envelope(inner, prompts=config.log_prompts), metrics, dialects)
    return app


def _images(gateway: Gateway, dialects: Mapping[str, Dialect]) -> list[HTTPRouteHandler]:
    return [
        _spoken(gateway, dialect, [path for path, has in dialects.items() if has is dialect])
        for dialect in dict.fromkeys(dialects.values())
    ]


def _spoken(gateway: Gateway, dialect: Dialect, paths: list[str]) -> HTTPRouteHandler:
    azure = [path.replace(*AZURE) for path in paths if path.startswith(AZURE[0])]

    @post([*paths, *azure], name=f"images:{paths[0]}", status_code=200)
    async def images(request: AnyRequest) -> Response[Any]:
        return await answer(gateway, dialect, request)

    return images


def _routes(gateway: Gateway, dialects: Mapping[str, Dialect]) -> list[HTTPRouteHandler]:
    return [*_models(gateway), _files(gateway), *_probes(gateway), *_about(gateway, dialects)]


def _models(gateway: Gateway) -> list[HTTPRouteHandler]:
    bases = ["/v1", "", *(f"/{name}/v1" for name in SHARING)]

    @get([f"{base}/models" for base in bases])
    async def models(request: AnyRequest) -> Response[bytes]:
        own = identified(gateway, request)
        found = await own.client.models()
        aliases = own.names.standing_for([model.name for model in found]) if own.config.list_aliases else {}
        return _json(render_models(found, aliases))

    # Names may contain slashes.
    @get([f"{base}/models/{{name:path}}" for base in bases])
    async def model(request: AnyRequest) -> Response[bytes]:
        own = identified(gateway, request)
        asked = str(request.path_params["name"]).lstrip("/")
        return _json(render_model(await own.client.model(own.names.resolve(asked)), asked))

    return [models, model]


def _files(gateway: Gateway) -> HTTPRouteHandler:
    @route("/files/{access:str}/{name:str}", http_method=["GET", "HEAD"])
    async def file(request: AnyRequest) -> Response[bytes]:
        name, access = str(request.path_params["name"]), str(request.path_params["access"])
        where = await gateway.store.elsewhere(name, access, request.method)
        if where:
            return Response(b"", status_code=307, headers={"location": where, "cache-control": "no-store", **EMBEDDED})
        content = await gateway.store.open(name, access)
        headers = {
            "etag": content.etag,
            "cache-control": f"private, max-age={content.remaining}, immutable",
            **EMBEDDED,
        }
        if content.etag in request.headers.get("if-none-match", ""):
            return Response(b"", status_code=304, media_type=content.mime_type, headers=headers)
        return Response(content.data, status_code=200, media_type=content.mime_type, headers=headers)

    return file


def _probes(gateway: Gateway) -> list[HTTPRouteHandler]:
    @get("/livez")
    async def livez() -> Response[bytes]:
        return _json({"status": "alive"})

    @get("/readyz")
    async def readyz() -> Response[bytes]:
        if await gateway.client.ready():
            return _json({"status": "ready"})
        return _json({"status": "not ready", "why": "the image service does not answer, or does not serve now"}, 503)

    return [livez, readyz]


def _counted(gateway: Gateway, metrics: Metrics) -> HTTPRouteHandler:
    @get("/metrics")
    async def counted(request: AnyRequest) -> Response[bytes]:
        identified(gateway, request)  # it names models, as `/v1/models` does
        return Response(metrics.text(), media_type=TEXT)

    return counted


def _about(gateway: Gateway, dialects: Mapping[str, Dialect]) -> list[HTTPRouteHandler]:
    endpoints = {
        "images": {path: dialect.name for path, dialect in dialects.items()},
        "models": "/v1/models",
        "description": "/openapi.json",
        "documentation": "/docs",
        "health": ["/livez", "/readyz"],
    }
    description = _encoded(document(gateway.config.dialect))

    @get("/openapi.json")
    async def openapi() -> Response[bytes]:
        return Response(description, media_type=JSON)

    return [*pages(_encoded({"name": "tintype", "endpoints": endpoints})), openapi]


def _encoded(body: Any) -> bytes:
    return msgspec.json.encode(body)


def _json(body: Any, status: int = 200) -> Response[bytes]:
    return Response(_encoded(body), status_code=status, media_type=JSON)


@asynccontextmanager
async def _sweeping(store: Store, every: float) -> AsyncIterator[None]:
    """Sweep the store now and then, while the application runs."""

    async def forever() -> None:
        while True:
            try:
                await store.sweep()
            except (OSError, GatewayError) as error:
                log.warning("results that have expired can't be deleted: %s", error)
            await asyncio.sleep(every)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
