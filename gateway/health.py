"""Health and version of the gateway, for monitors: `/livez`, `/readyz`, `/health` and `/version`.

`/livez`, `/readyz` and the status of `/health` need no key. How many models are loaded and what runs is for callers
with a key, if keys are required.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from litestar import Response, route
from msgspec import Meta

from tintype.v1 import image_service_pb2 as pb

from .access.admission import authenticate
from .access.rejections import NoKey, WrongKey
from .context import AnyRequest  # noqa: TC001 - Litestar reads it
from .errors import ServiceError
from .openapi.operation import JSON, TEXT, Media, Operation, ResponseDoc, handler_options
from .pages import READ_METHODS
from .version import Version

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from .context import Gateway
    from .metrics import Metrics

_STATE = {JSON: Media({"type": "object", "properties": {"status": TEXT, "why": TEXT}, "required": ["status"]})}
LIVENESS = Operation(
    summary="Check that the gateway is running", responses={200: ResponseDoc("It is running", _STATE)}, open=True
)
READINESS = Operation(
    summary="Check whether images can be generated now",
    responses={200: ResponseDoc("Ready", _STATE), 503: ResponseDoc("Not ready, with the reason", _STATE)},
    open=True,
)


class Health(msgspec.Struct, omit_defaults=True):
    """Health of the gateway. All but `status` and `why` is for callers with a key, if keys are required."""

    status: Annotated[str, Meta(description="ok or unavailable")]
    why: Annotated[str, Meta(description="Why images can't be generated now")] = ""
    version: Annotated[str, Meta(description="Version of tintype")] = ""
    uptime_seconds: Annotated[float, Meta(description="Seconds since the gateway started")] = 0.0
    requests_in_flight: Annotated[int | None, Meta(description="Requests that are being answered")] = None
    models: Annotated[int | None, Meta(description="Models that the caller may use")] = None
    models_loaded: Annotated[int | None, Meta(description="How many of them are in memory")] = None


_HEALTH = {JSON: Media(Health)}
HEALTH = Operation(
    summary="Get the health of the gateway and its service",
    text="`status` is ok or unavailable; `why` is the reason.",
    responses={200: ResponseDoc("Images can be generated", _HEALTH), 503: ResponseDoc("They can't", _HEALTH)},
    open=True,
)
VERSION = Operation(
    summary="Get the version of the gateway",
    responses={200: ResponseDoc("The version", {JSON: Media(Version)})},
    errors=(401,),
)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What `/health` reports about a gateway that began at `began`, a time of `monotonic`."""

    gateway: Gateway
    metrics: Metrics
    version: Version
    began: float

    async def make(self, request: AnyRequest) -> Health:
        """Return the health, with details if the caller may see them."""
        reason = await problem(self.gateway)
        health = Health("unavailable" if reason else "ok", reason)
        await self.gateway.keys.reload()
        try:
            context = authenticate(self.gateway, request)
        except (NoKey, WrongKey):
            return health
        health.version = self.version.version
        health.uptime_seconds = round(time.monotonic() - self.began, 3)
        health.requests_in_flight = self.metrics.requests_in_flight
        if not reason:
            try:
                models = await context.client.models()
            except ServiceError:
                return health
            health.models = len(models)
            health.models_loaded = sum(model.state == pb.MODEL_STATE_LOADED for model in models)
        return health


async def problem(gateway: Gateway) -> str:
    """Return why images can't be generated now; empty if they can."""
    return await gateway.readiness.problem() or gateway.store.problem()


def health_routes(gateway: Gateway, metrics: Metrics) -> list[HTTPRouteHandler]:
    """Return the routes of health and version."""
    report = HealthReport(gateway, metrics, Version.installed(), time.monotonic())
    version_text = _json(report.version)

    @route("/livez", http_method=READ_METHODS, opt=handler_options(LIVENESS))
    async def livez() -> Response[bytes]:
        return _json({"status": "alive"})

    @route("/readyz", http_method=READ_METHODS, opt=handler_options(READINESS))
    async def readyz() -> Response[bytes]:
        reason = await problem(gateway)
        return _json({"status": "not ready", "why": reason}, 503) if reason else _json({"status": "ready"})

    @route("/health", http_method=READ_METHODS, opt=handler_options(HEALTH))
    async def health(request: AnyRequest) -> Response[bytes]:
        found = await report.make(request)
        return _json(found, 503 if found.why else 200)

    @route("/version", http_method=READ_METHODS, opt=handler_options(VERSION))
    async def version(request: AnyRequest) -> Response[bytes]:
        authenticate(gateway, request)  # it tells which faults are known
        return version_text

    return [livez, readyz, health, version]


def _json(body: object, status: int = 200) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, media_type=JSON)
