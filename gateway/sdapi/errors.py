"""Errors as the web UI answers them, and those that only it has.

::

    GatewayError
    └── BadRequest
        ├── NoInitImage         404     nothing to start from
        ├── NoSuchScript        422     an extension of the web UI, which is not here
        └── NoSuchCheckpoint    500     no model of that name; the web UI has a RuntimeError there

A field that is wrong is 422 with FastAPI's list `detail`; all else has `error`, `detail`, `body` and `errors`.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from ..access.denials import NoKey
from ..dialects import Failure
from ..dialects.retrying import retry_headers
from ..errors import BadPicture, BadRequest, GatewayError, InvalidValue, NotJson, ServiceError

# Errors of ours whose status or detail clients know as another.
KNOWN: dict[type[GatewayError], tuple[int, str]] = {
    NoKey: (401, "Incorrect username or password"),
    BadPicture: (500, "Invalid encoded image"),
}
UNPROCESSABLE = (InvalidValue, NotJson)


class NoInitImage(BadRequest):
    """There is no picture to start from."""

    status = 404

    def __init__(self) -> None:
        super().__init__("Init image not found", param="init_images")


class NoSuchScript(BadRequest):
    """A script or extension that the client counts on is not here."""

    status = 422

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} '{name[:100]}' not found: tintype has no extensions of the web UI")


class NoSuchCheckpoint(BadRequest):
    """No model has that name."""

    status = 500

    def __init__(self, name: str) -> None:
        super().__init__(f"model '{name[:100]}' not found")


class Fault(msgspec.Struct, kw_only=True):
    """One field that is wrong."""

    loc: list[str]
    msg: str
    type: str = "value_error"


class WebUiError(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong."""

    error: str | UnsetType = UNSET
    detail: str | list[Fault]
    body: str | UnsetType = UNSET
    errors: str | UnsetType = UNSET


def error(exc: GatewayError) -> Failure:
    """Return an error as it is answered."""
    headers = retry_headers(exc)
    if isinstance(exc, UNPROCESSABLE) or (isinstance(exc, ServiceError) and exc.violations):
        loc = ["body", exc.param] if exc.param else ["body"]
        return Failure(422, headers, WebUiError(detail=[Fault(loc=loc, msg=exc.message)]))
    known = next((row for kind, row in KNOWN.items() if isinstance(exc, kind)), None)
    status, detail = known or (exc.status, exc.message)
    if status == 401:
        headers["www-authenticate"] = "Basic"
    if known and status == 500:
        headers["x-should-retry"] = "false"
    return Failure(status, headers, _body(exc, detail))


def _body(exc: GatewayError, detail: str) -> WebUiError:
    kind = "RuntimeError" if isinstance(exc, NoSuchCheckpoint) else type(exc).__name__
    return WebUiError(error=kind, detail=detail, body="", errors=exc.message)
