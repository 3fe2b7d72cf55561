"""The route `/v1/usage`: an admin key sees the usage of all keys, any other key its own."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from litestar import Response, route

from ..access.admission import authenticate
from ..access.rejections import AdminOnly
from ..context import AnyRequest  # noqa: TC001 - Litestar reads it
from ..errors import GatewayError, InvalidValue, NoSuchPath
from ..openapi.operation import JSON, TEXT, Media, Operation, ResponseDoc, handler_options
from ..pages import READ_METHODS
from .render import DEFAULT_DAYS, UsageList, encode_usage

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from ..context import CallerContext, Gateway


class OwnUsageOnly(AdminOnly):
    """The API key may see only its own usage."""

    def __init__(self) -> None:
        GatewayError.__init__(self, "This API key may see only its own usage: leave out 'key'.", param="key")


_DAY = TEXT | {"format": "date"}
USAGE = Operation(
    summary="Get the usage of keys",
    text=(
        "By day (UTC), key and model. Admin keys see all keys; other keys see their own usage. "
        "`key` is empty for requests without a key. `device_seconds` counts a call that serves several requests for "
        "each of them."
    ),
    query={
        "key": TEXT | {"description": "Name of a key (default: all that the caller may see)"},
        "since": _DAY | {"description": f"First day, YYYY-MM-DD (default: {DEFAULT_DAYS - 1} days before today)"},
        "until": _DAY | {"description": "Last day, YYYY-MM-DD (default: today)"},
    },
    responses={200: ResponseDoc("The usage", {JSON: Media(UsageList)})},
    errors=(400, 401, 403, 404, 503),
)


def routes(gateway: Gateway) -> list[HTTPRouteHandler]:
    """Return the route of usage."""

    @route("/v1/usage", http_method=READ_METHODS, opt=handler_options(USAGE))
    async def usage(request: AnyRequest) -> Response[Any]:
        context = authenticate(gateway, request)
        if gateway.usage is None:
            raise NoSuchPath("This gateway keeps no usage; --usage-days turns it on.")
        today = gateway.usage.today.date()
        since = _day(request, "since", today - timedelta(days=DEFAULT_DAYS - 1))
        until = _day(request, "until", today)
        key = _key(context, request.query_params.get("key"))
        body = await gateway.usage.read(partial(encode_usage, since.isoformat(), until.isoformat(), key))
        return Response(body, media_type=JSON)

    return [usage]


def _key(context: CallerContext, asked: str | None) -> str | None:
    """Return the key to show; None for all. Raises OwnUsageOnly."""
    if context.caller.admin:
        return asked
    if asked not in (None, context.key):
        raise OwnUsageOnly
    return context.key


def _day(request: AnyRequest, name: str, default: date) -> date:
    """Return the day in a query parameter. Raises InvalidValue."""
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidValue(name, f"must be a day such as 2026-01-31, not {text[:100]!r}") from None
