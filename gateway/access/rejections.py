"""Errors of rejected requests: access, size, format, content and rate. `errors` draws the whole tree."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from tintype.v1.reasons import Reason

from ..errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class NoKey(GatewayError):
    """The request has no API key, and one is required."""

    status = 401
    reason = Reason.NO_KEY
    headers = MappingProxyType({"www-authenticate": "Bearer"})

    def __init__(self) -> None:
        super().__init__("The request has no API key. Send it as 'Authorization: Bearer KEY'.")


class WrongKey(NoKey):
    """The request's API key is unknown."""

    reason = Reason.WRONG_KEY

    def __init__(self) -> None:
        GatewayError.__init__(self, "Incorrect API key provided.")


class ModelNotAllowed(GatewayError):
    """The API key does not allow the model."""

    status = 403
    reason = Reason.MODEL_NOT_ALLOWED

    def __init__(self, model: str, allowed: Sequence[str]) -> None:
        super().__init__(f"This API key is for {', '.join(allowed)}, not for {model[:100]}.", param="model")


class ForeignHost(GatewayError):
    """The request was sent to a host name that is not the gateway's; a web page may have caused it."""

    status = 403
    reason = Reason.FOREIGN_HOST

    def __init__(self, host: str) -> None:
        advice = f"if that is its name, start it with --hosts {host[:100]}"
        super().__init__(f"The gateway does not serve the host {host[:100]!r}: {advice}.")


class ForeignPage(GatewayError):
    """A web page of an origin that is not allowed sent the request."""

    status = 403
    reason = Reason.FOREIGN_ORIGIN

    def __init__(self, origin: str) -> None:
        page = f"of {origin[:100]}" if origin else "of another site"
        advice = f" (--cors {origin[:100]} allows it)" if origin else ""
        super().__init__(f"Web pages {page} may not use this gateway{advice}.")


class AdminOnly(GatewayError):
    """The API key may not load or unload models."""

    status = 403
    reason = Reason.ADMIN_ONLY

    def __init__(self) -> None:
        super().__init__(
            "This API key may not load or unload models; `tintype keys create NAME --admin` creates one that may."
        )


class BodyTooSlow(GatewayError):
    """The body did not arrive in time; the connection is closed after the response."""

    status = 408
    reason = Reason.BODY_TOO_SLOW
    headers = MappingProxyType({"connection": "close"})

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The request did not arrive within {seconds:g} s, or arrived at less than 16 KiB per second.")


class TooManyUploads(GatewayError):
    """The requests together hold more memory than configured."""

    status = 503
    reason = Reason.UPLOADS_FULL
    retry_after = 1.0
    headers = MappingProxyType({"connection": "close"})

    def __init__(self) -> None:
        super().__init__("The gateway has no memory left for uploads and results. Try again in a moment.")


class BodyTooLarge(GatewayError):
    """The body has more bytes than the configuration allows."""

    status = 413
    reason = Reason.BODY_TOO_LARGE


class WrongContentType(GatewayError):
    """The content type of the body is not supported here."""

    status = 415
    reason = Reason.WRONG_CONTENT_TYPE


class KeyReused(GatewayError):
    """The Idempotency-Key was used before with another body."""

    status = 422
    reason = Reason.KEY_REUSED

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before with another body; a new request needs a new key.")


class ContentRefused(GatewayError):
    """The moderation service flags the prompt, an image of the request, or a generated image."""

    status = 400
    reason = Reason.MODERATION_BLOCKED

    def __init__(self, what: str) -> None:
        super().__init__(f"The moderation of this server refuses the {what}.")


class ModerationUnavailable(GatewayError):
    """The moderation service gives no verdict, and requests are not served without one."""

    status = 503
    reason = Reason.MODERATION_UNAVAILABLE
    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The moderation of this server does not work now. Try again in a moment.")


class TooManyRequests(GatewayError):
    """The caller exceeds its rate limit; `headers` contain the limit."""

    status = 429
    reason = Reason.RATE_LIMIT_EXCEEDED

    def __init__(self, per_minute: int, what: str, retry_after: float, headers: Mapping[str, str]) -> None:
        super().__init__(f"The limit is {per_minute} {what} per minute. Try again in {retry_after:.1f} s.")
        self.retry_after = retry_after
        self.headers = headers
