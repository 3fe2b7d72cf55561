"""Admission of requests: authentication, request rate, and the context through which a handler works.

The context's client offers only the models that the caller's key allows, and counts images in every API. The default
of its model names is one of these models. So the APIs that generate images contain no access checks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..context import CallerContext
from ..jobs.running_job import running_job
from ..usage.client import MeteredClient
from .caller import Caller, CallerClient
from .rejections import AdminOnly

if TYPE_CHECKING:
    from litestar import Request

    from tintype.v1.keyfile import Key

    from ..access_record import AccessRecord
    from ..config import GatewayConfig
    from ..context import Gateway


def authenticate(gateway: Gateway, request: Request[Any, Any, Any]) -> CallerContext:
    """Return the context for the request's caller. Raises NoKey, WrongKey.

    A job has passed its caller's rates when it was submitted.
    """
    job = running_job(request)
    key = gateway.keys.of_job(job.key) if job else gateway.keys.authenticate(request.headers)
    caller = caller_of(key, request.client.host if request.client else "", gateway.config)
    if job:
        caller = replace(caller, requests=0, images=0)
    record: AccessRecord = request.state.record
    record.key = key.name if key else ""
    names = gateway.names.limited_to(caller.models)
    rates, models = gateway.image_rates, gateway.models
    metered = MeteredClient(gateway.client, models, gateway.usage, record) if gateway.usage else gateway.client
    watch = job.progress.update if job else None
    client = CallerClient(metered, models, gateway.config, rates, caller, names.default, record, watch)
    return CallerContext(gateway, caller, record.key, client, names)


def admit(gateway: Gateway, request: Request[Any, Any, Any]) -> CallerContext:
    """Authenticate a request for images, and count it. Raises NoKey, WrongKey, TooManyRequests."""
    context = authenticate(gateway, request)
    caller = context.caller
    request.state.record.headers.update(gateway.request_rates.take(caller.name, caller.requests))
    return context


def require_admin(gateway: Gateway, request: Request[Any, Any, Any]) -> CallerContext:
    """Authenticate a request that loads or unloads models. Raises NoKey, WrongKey, AdminOnly."""
    context = authenticate(gateway, request)
    if not context.caller.admin:
        raise AdminOnly
    return context


def caller_of(key: Key | None, address: str, config: GatewayConfig) -> Caller:
    """Return the caller of a key, or of an address without a key; rates of the key override the configured ones."""
    if key is None:
        return Caller(address, config.rate_limit, config.image_limit)
    requests = config.rate_limit if key.requests is None else key.requests
    images = config.image_limit if key.images is None else key.images
    return Caller(key.name, requests, images, key.models, key.priority, key.admin)


def max_images_per_request(context: CallerContext, passes: int = 1) -> int | None:
    """Return the maximum number of images per request, each of `passes` passes; None if there is no limit."""
    per_minute = context.caller.images // passes if context.caller.images else None
    limits = (context.gateway.config.max_images or None, per_minute)
    return min((limit for limit in limits if limit is not None), default=None)


def check_image_rate(context: CallerContext, count: int) -> None:
    """Raise TooManyRequests if the caller may not generate `count` images now; count nothing."""
    context.gateway.image_rates.check(context.caller.name, context.caller.images, count)
