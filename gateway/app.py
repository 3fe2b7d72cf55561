"""The ASGI application: routes and middleware.

`dialects_by_path` maps paths to dialects; `routes` has all other routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, Response, post

from tintype.v1.rates import RateLimits

from . import sdapi
from .access.keys import KeyRefresh, Keys
from .access.model_names import ModelNames
from .access.rejections import TooManyRequests
from .context import Gateway
from .dialects import DIALECTS, dialects_by_path
from .error_handlers import Failures
from .errors import GatewayError
from .http.browsers import Browsers
from .http.cors import Cors
from .http.receiving import Memory, Receiving
from .http.response_headers import Envelope
from .metrics import CountedClient, Measured, Metrics
from .openapi.operation import described
from .requests.handler import handle, operation
from .requests.idempotency import IdempotencyCache
from .results.stores import local
from .routes import about, routes
from .uploads.reading import ImageReader
from .upstream.readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from litestar.handlers import HTTPRouteHandler

    from .config import GatewayConfig
    from .dialects import Dialect
    from .results.store import Store
    from .upstream.client import ImageClient

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
# Azure's paths: there a model is a deployment, whose name may be given in the path only.
AZURE = ("/openai/images/", "/openai/deployments/{deployment:str}/images/")
SWEEP_EVERY = 60.0  # seconds between two sweeps; less if links expire sooner


def create_app(
    config: GatewayConfig, client: ImageClient, store: Store | None = None, readiness: Readiness | None = None
) -> Litestar:
    """Return the application; `store` keeps results by link, by default in the data folder.

    The caller closes `client`. Raises StartError if the data folder can't be used.
    """
    store = store or local(config)
    names = ModelNames(config.names, config.strict_models)
    images = ImageReader.configured(config, store)
    idempotency = IdempotencyCache(config.url_ttl)
    request_rates, image_rates = RateLimits("requests", TooManyRequests), RateLimits("images", TooManyRequests)
    metrics = Metrics()
    keys = Keys(config.key_file, optional=config.keys is None, api_key=config.api_key)
    gateway = Gateway(
        config,
        CountedClient(client, metrics),
        store,
        names,
        keys,
        request_rates,
        image_rates,
        idempotency,
        images,
        readiness or Readiness(client, names),
    )
    dialects = dialects_by_path(config.dialect)
    failures = Failures(dialects, DIALECTS[config.dialect])
    handlers = [*_images(gateway, dialects), *routes(gateway, metrics), *sdapi.routes(gateway)]
    app = Litestar(
        about(gateway, dialects, failures, handlers),
        exception_handlers=failures.handlers(),
        request_max_body_size=config.max_body,
        openapi_config=None,
        logging_config=None,
        lifespan=[_sweeping(store, min(SWEEP_EVERY, max(1.0, config.url_ttl / 4)))],
    )
    memory = Memory(config.body_memory, config.receive_timeout)
    receiving = Receiving(KeyRefresh(app.asgi_handler, keys), config.receive_timeout, memory)
    inner = Browsers(Cors(receiving, config.origins), config, failures.send)
    app.asgi_handler = Measured(Envelope(inner, prompts=config.log_prompts), metrics, dialects)
    return app


def _images(gateway: Gateway, dialects: Mapping[str, Dialect]) -> list[HTTPRouteHandler]:
    return [
        _spoken(gateway, dialect, [path for path, has in dialects.items() if has is dialect])
        for dialect in dict.fromkeys(dialects.values())
    ]


def _spoken(gateway: Gateway, dialect: Dialect, paths: list[str]) -> HTTPRouteHandler:
    paths = [*paths, *(path.replace(*AZURE) for path in paths if path.startswith(AZURE[0]))]

    @post(paths, name=f"images:{paths[0]}", status_code=200, opt=described(operation(dialect), paths))
    async def images(request: AnyRequest) -> Response[Any]:
        return await handle(gateway, dialect, request)

    return images


@asynccontextmanager
async def _sweeping(store: Store, every: float) -> AsyncIterator[None]:
    """Sweep the store regularly while the application runs."""

    async def forever() -> None:
        while True:
            try:
                await store.sweep()
            except (OSError, GatewayError) as error:
                log.warning("cannot delete expired results: %s", error)
            await asyncio.sleep(every)

    task = asyncio.create_task(forever())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
