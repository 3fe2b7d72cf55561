"""The header `Prefer` (RFC 7240): `respond-async` and `wait`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import InvalidValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..context import AnyRequest

RESPOND_ASYNC, WAIT = "respond-async", "wait"
MAX_WAIT = 60.0  # seconds; proxies end a request without an answer after 60 to 100
_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def parse_prefer(values: Iterable[str]) -> dict[str, str]:
    """Return the preferences of all `Prefer` headers by lower-case name; the first of a name applies."""
    found: dict[str, str] = {}
    for preference in ",".join(values).split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def preferences(request: AnyRequest) -> dict[str, str]:
    """Return the preferences of a request."""
    return parse_prefer(request.headers.getall("prefer", []))


def wait_seconds(value: str) -> float:
    """Return the seconds of a `wait` preference, at most MAX_WAIT; 0 if it is not a number."""
    return min(float(value), MAX_WAIT) if _SECONDS.fullmatch(value) else 0.0


def wait_parameter(value: str) -> float:
    """Return the seconds of the query parameter `wait`, at most MAX_WAIT. Raises InvalidValue."""
    if not _SECONDS.fullmatch(value):
        raise InvalidValue("wait", f"must be a whole number of seconds, 0 or more, not {value[:20]!r}")
    return wait_seconds(value)
