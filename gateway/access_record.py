"""Facts about one request, collected while it is served, for the access log and the response headers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tintype.v1.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tintype.v1 import image_service_pb2 as pb

DISCONNECT_REASON = Reason.CLIENT_GONE
_UNQUOTED = re.compile(r"[!#-<>-~]+")  # printable ASCII except quotes and =


@dataclass(slots=True)
class AccessRecord:
    """One request.

    `queue` and `run` are seconds, measured by the service. `headers` are added to the response. If a `quiet` request
    succeeds, its line is logged at level debug. `trace` is the id of its trace, empty without one.
    """

    id: str
    key: str = ""
    model: str = ""
    images: int = 0
    queue: float | None = None
    run: float | None = None
    error: str = ""
    prompt: str = ""
    trace: str = ""
    quiet: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def start(self, request: pb.GenerateImagesRequest) -> None:
        """Record the request to the service."""
        self.model, self.prompt = request.model, request.prompt

    def fail(self, error: BaseException) -> None:
        """Record the reason of a failure; an exception without a reason means that the client disconnected."""
        self.error = str(getattr(error, "reason", DISCONNECT_REASON))

    def finish(self, done: pb.GenerateImagesResponse | pb.Completed, images: int) -> None:
        """Record the service's images and times. Called once for each call of the service."""
        self.model, self.error = done.model, ""
        self.images += images
        if done.HasField("timings"):
            queue = done.timings.queue.ToMicroseconds() / 1e6
            self.queue = (self.queue or 0) + queue
            self.run = (self.run or 0) + max(0.0, done.timings.total.ToMicroseconds() / 1e6 - queue)


def pairs(values: Mapping[str, object]) -> str:
    """Return `key=value` pairs: floats with three decimals, text quoted as JSON if not plain, `-` for no value."""
    return " ".join(f"{key}={_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if value in (None, ""):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if _UNQUOTED.fullmatch(text) else json.dumps(text)
