"""Errors in the format of the web UI, and errors that only its API has.

::

    GatewayError
    └── BadRequest
        ├── NoInitImage         404     no initial image
        ├── NoSuchScript        422     a script or extension of the web UI; tintype has none
        └── NoSuchCheckpoint    500     no model of that name; the web UI raises a RuntimeError

An invalid field is 422 with FastAPI's list `detail`; other errors have `error`, `detail`, `body` and `errors`.
"""

from __future__ import annotations

from ..access.rejections import NoKey
from ..dialects import Failure
from ..dialects.dialect import retry_headers
from ..errors import BadRequest, GatewayError, InvalidImage, InvalidValue, NotJson, ServiceError
from .response_types import FieldError, WebUiError

# Errors with another status and detail in the web UI.
WEBUI_ERRORS: dict[type[GatewayError], tuple[int, str]] = {
    NoKey: (401, "Incorrect username or password"),
    InvalidImage: (500, "Invalid encoded image"),
}
UNPROCESSABLE = (InvalidValue, NotJson)


class NoInitImage(BadRequest):
    """The request has no initial image."""

    status = 404

    def __init__(self) -> None:
        super().__init__("Init image not found", param="init_images")


class NoSuchScript(BadRequest):
    """The client requires a script or extension of the web UI."""

    status = 422

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} '{name[:100]}' not found: of the web UI's extensions tintype has only ControlNet")


class NoSuchCheckpoint(BadRequest):
    """No model has this name."""

    status = 500

    def __init__(self, name: str) -> None:
        super().__init__(f"model '{name[:100]}' not found")


def error(exc: GatewayError) -> Failure:
    """Return an error in the web UI's format."""
    headers = retry_headers(exc)
    if isinstance(exc, UNPROCESSABLE) or (isinstance(exc, ServiceError) and exc.violations):
        loc = ["body", exc.param] if exc.param else ["body"]
        return Failure(422, headers, WebUiError(detail=[FieldError(loc=loc, msg=exc.message)]))
    known = next((row for kind, row in WEBUI_ERRORS.items() if isinstance(exc, kind)), None)
    status, detail = known or (exc.status, exc.message)
    if status == 401:
        headers["www-authenticate"] = "Basic"
    if known and status == 500:
        headers["x-should-retry"] = "false"
    return Failure(status, headers, _error_body(exc, detail))


def _error_body(exc: GatewayError, detail: str) -> WebUiError:
    kind = "RuntimeError" if isinstance(exc, NoSuchCheckpoint) else type(exc).__name__
    return WebUiError(error=kind, detail=detail, body="", errors=exc.message)
