"""The ASGI application: routes and middleware.

`dialects_by_path` maps paths to dialects; `routes` has all other routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Response, post

from tintype.v1.rates import RateLimits
from tintype.v1.tracing import Tracer

from . import sdapi
from .access.keys import ClientKeys, KeyRefresh
from .access.model_names import ModelNames
from .access.rejections import TooManyRequests
from .context import (
    AnyRequest,
    Gateway,
)
from .dialects import DIALECTS, dialects_by_path
from .error_handlers import ErrorHandlers
from .errors import GatewayError
from .http.body_limits import BodyLimits, BodyMemory
from .http.browsers import BrowserGuard
from .http.cors import Cors
from .http.response_headers import ResponseHeaders
from .jobs.routes import routes as job_routes
from .jobs.setup import job_runner
from .metrics import CountedClient, Metrics, ReplicaMetrics, RequestMetrics
from .moderation.client import moderate
from .openapi.operation import handler_options
from .requests.handler import handle, operation
from .requests.idempotency import IdempotencyCache
from .requests.upscaling import routes as upscale_routes
from .results.stores import local_store
from .routes import routes, with_pages
from .tracing import RequestSpans, TracedClient
from .uploads.reading import ImageReader
from .upstream.client import ServiceClient
from .upstream.model_cache import ModelCache
from .upstream.readiness import Readiness
from .usage.routes import routes as usage_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from litestar.handlers import HTTPRouteHandler
    from litestar.types import ASGIApp, Receive, Scope, Send

    from .config import GatewayConfig
    from .dialects import Dialect
    from .jobs.queue import Jobs
    from .results.store import Store
    from .upstream.client import ImageClient
    from .usage.log import UsageLog

log = logging.getLogger(__name__)

# In Azure's API a model is a deployment, which the path may name: a prefix of OpenAI's path, and Azure's.
AZURE_PATHS = ("/openai/images/", "/openai/deployments/{deployment:str}/images/")
SWEEP_INTERVAL = 60.0  # maximum seconds between two sweeps; shorter for links that expire soon


class Application:
    """The routes, in Litestar, inside the gateway's middleware. Middleware wraps Litestar as plain ASGI."""

    def __init__(self, litestar: Litestar, asgi: ASGIApp, gateway: Gateway) -> None:
        self.litestar, self.gateway = litestar, gateway
        self._asgi = asgi

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._asgi(scope, receive, send)


def create_app(
    config: GatewayConfig,
    client: ImageClient,
    store: Store | None = None,
    readiness: Readiness | None = None,
    usage: UsageLog | None = None,
    jobs: Jobs | None = None,
    tracer: Tracer | None = None,
) -> Application:
    """Return the application; `store` keeps results by link, by default in the data folder.

    It counts `usage`, runs `jobs` and makes spans by `tracer`, if given. The caller closes `client`. Raises StartError
    if the data folder can't be used.
    """
    metrics, tracer = Metrics(), tracer or Tracer()
    if isinstance(client, ServiceClient):
        metrics.registry.register(ReplicaMetrics(client))
    store = store or local_store(config)
    names = ModelNames(config.model_aliases, config.strict_models)
    readiness = readiness or Readiness(client, names)  # metrics don't count its calls
    traced = TracedClient(client, tracer, prompts=config.log_prompts)
    served, closing = moderate(CountedClient(traced, metrics), config, metrics.count_check)
    gateway = _gateway(config, served, store, names, readiness, usage, jobs)
    dialects = dialects_by_path(config.dialect)
    errors = ErrorHandlers(dialects, DIALECTS[config.dialect])
    handlers = _handlers(gateway, dialects, metrics)
    runner = job_runner(gateway, jobs, errors, metrics) if jobs else None
    litestar = Litestar(
        with_pages(gateway, dialects, errors, handlers),
        exception_handlers=errors.handlers(),
        request_max_body_size=config.max_body,
        openapi_config=None,
        logging_config=None,
        lifespan=[
            _sweeping(store, min(SWEEP_INTERVAL, max(1.0, config.url_ttl / 4))),
            *closing,
            *([lambda app: runner.serving(_with_inner_middleware(app, gateway, tracer))] if runner else []),
        ],
    )
    return Application(litestar, _with_middleware(litestar, gateway, metrics, tracer, dialects, errors), gateway)


def _gateway(
    config: GatewayConfig,
    client: ImageClient,
    store: Store,
    names: ModelNames,
    readiness: Readiness,
    usage: UsageLog | None,
    jobs: Jobs | None,
) -> Gateway:
    return Gateway(
        config=config,
        client=client,
        models=ModelCache(client),
        store=store,
        names=names,
        body_memory=BodyMemory(config.body_memory, config.receive_timeout),
        keys=ClientKeys(config.key_file, optional=config.keys is None, api_key=config.api_key),
        request_rates=RateLimits("requests", TooManyRequests),
        image_rates=RateLimits("images", TooManyRequests),
        idempotency=IdempotencyCache(config.url_ttl),
        images=ImageReader.from_config(config, store),
        readiness=readiness,
        usage=usage,
        jobs=jobs,
    )


def _with_middleware(
    litestar: Litestar,
    gateway: Gateway,
    metrics: Metrics,
    tracer: Tracer,
    dialects: Mapping[str, Dialect],
    errors: ErrorHandlers,
) -> ASGIApp:
    """Return the application inside its middleware, from the innermost to the outermost."""
    config = gateway.config
    app: Any = KeyRefresh(litestar, gateway.keys)
    app = BodyLimits(app, config.receive_timeout, gateway.body_memory)
    app = Cors(app, config.cors_origins)
    app = BrowserGuard(app, config, errors.send)
    app = ResponseHeaders(app, prompts=config.log_prompts)
    app = RequestSpans(app, tracer)
    return RequestMetrics(app, metrics, dialects)


def _with_inner_middleware(litestar: Litestar, gateway: Gateway, tracer: Tracer) -> ASGIApp:
    """Return the application for requests of the gateway's own, which run jobs."""
    config = gateway.config
    app: Any = KeyRefresh(litestar, gateway.keys)
    app = BodyLimits(app, config.receive_timeout, gateway.body_memory)
    app = ResponseHeaders(app, prompts=config.log_prompts)
    return RequestSpans(app, tracer)


def _handlers(gateway: Gateway, dialects: Mapping[str, Dialect], metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the handlers of all routes, except those of the pages."""
    return [
        *_image_handlers(gateway, dialects),
        *job_routes(gateway, dialects),
        *upscale_routes(gateway),
        *routes(gateway, metrics),
        *usage_routes(gateway),
        *sdapi.routes(gateway),
    ]


def _image_handlers(gateway: Gateway, dialects: Mapping[str, Dialect]) -> list[HTTPRouteHandler]:
    return [
        _image_handler(gateway, dialect, [path for path, other in dialects.items() if other is dialect])
        for dialect in dict.fromkeys(dialects.values())
    ]


def _image_handler(gateway: Gateway, dialect: Dialect, paths: list[str]) -> HTTPRouteHandler:
    paths = [*paths, *(path.replace(*AZURE_PATHS) for path in paths if path.startswith(AZURE_PATHS[0]))]

    @post(paths, name=f"images:{paths[0]}", status_code=200, opt=handler_options(operation(dialect), paths))
    async def images(request: AnyRequest) -> Response[Any]:
        return await handle(gateway, dialect, request)

    return images


@asynccontextmanager
async def _sweeping(store: Store, interval: float) -> AsyncIterator[None]:
    """Sweep the store regularly while the application runs."""

    async def sweep_repeatedly() -> None:
        while True:
            try:
                await store.sweep()
            except (OSError, GatewayError) as error:
                log.warning("cannot delete expired results: %s", error)
            await asyncio.sleep(interval)

    task = asyncio.create_task(sweep_repeatedly())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
