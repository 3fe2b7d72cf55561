"""What a caller may do here: `identified` and `admitted` give a handler the gateway as it is for its request's key.

Its client knows the key's models only, and counts pictures whoever asks for them; its names have a default that the
key may use. So no API that makes pictures has to know of keys at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .caller import Caller, CallersClient
from .rejections import AdminOnly

if TYPE_CHECKING:
    from litestar import Request

    from tintype.v1.keyfile import Key

    from ..access_record import AccessRecord
    from ..config import GatewayConfig
    from ..context import Gateway


def caller(key: Key | None, address: str, config: GatewayConfig) -> Caller:
    """Return who asks; what the key does not say of rates is what everybody gets."""
    if key is None:
        return Caller(address, config.rate_limit, config.image_limit)
    requests = config.rate_limit if key.requests is None else key.requests
    images = config.image_limit if key.images is None else key.images
    return Caller(key.name, requests, images, key.models, key.priority, key.admin)


def identified(gateway: Gateway, request: Request[Any, Any, Any]) -> Gateway:
    """Return the gateway as the request's key may use it. Raises NoKey, WrongKey."""
    return _own(gateway, request)[0]


def admitted(gateway: Gateway, request: Request[Any, Any, Any]) -> Gateway:
    """Return what `identified` does, and count a request for pictures. Raises NoKey, WrongKey, TooManyRequests."""
    own, who = _own(gateway, request)
    request.state.record.headers.update(gateway.limits.take(who.name, who.requests))
    return own


def administered(gateway: Gateway, request: Request[Any, Any, Any]) -> Gateway:
    """Return what `identified` does, for what loads or unloads models.

    Raises NoKey, WrongKey, AdminOnly.
    """
    own, who = _own(gateway, request)
    if not who.admin:
        raise AdminOnly
    return own


def most(gateway: Gateway, passes: int = 1) -> int | None:
    """Return how many pictures a caller's request may have, each drawn so many times; None: any number."""
    each_minute = gateway.caller.images // passes if gateway.caller and gateway.caller.images else None
    return min((one for one in (gateway.config.max_images or None, each_minute) if one is not None), default=None)


def foresee(gateway: Gateway, count: int) -> None:
    """Say before the first of several calls that the last would fail. Raises TooManyRequests."""
    if gateway.caller:
        gateway.image_limits.foresee(gateway.caller.name, gateway.caller.images, count)


def _own(gateway: Gateway, request: Request[Any, Any, Any]) -> tuple[Gateway, Caller]:
    key = gateway.keys.caller(request.headers)
    who = caller(key, request.client.host if request.client else "", gateway.config)
    record: AccessRecord = request.state.record
    record.key = key.name if key else ""
    names = gateway.names.within(who.models)
    client = CallersClient(gateway.client, gateway.config, gateway.image_limits, who, names.default, record)
    return replace(gateway, client=client, names=names, caller=who), who
