"""What becomes known of one request on its way through the gateway: for the log, and for the headers of its answer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tintype.v1 import image_service_pb2 as pb

GONE = "CLIENT_GONE"
_PLAIN = re.compile(r"[!#-<>-~]+")  # printable ASCII but quotes and =


@dataclass(slots=True)
class Visit:
    """One request.

    `queue` and `run` are seconds, as the service measured them; `headers` go with the answer. The line of a `quiet` one
    that went well is logged at the level debug.
    """

    id: str
    key: str = ""
    model: str = ""
    images: int = 0
    queue: float | None = None
    run: float | None = None
    error: str = ""
    prompt: str = ""
    quiet: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def asked(self, request: pb.GenerateImagesRequest) -> None:
        """Note what is asked of the service."""
        self.model, self.prompt = request.model, request.prompt

    def failed(self, error: BaseException) -> None:
        """Note why nothing came of it; what is no error is a client that left."""
        self.error = str(getattr(error, "reason", GONE))

    def made(self, done: pb.GenerateImagesResponse | pb.Completed, images: int) -> None:
        """Note what the service has made, and how long that took. A request may have several such parts."""
        self.model, self.error = done.model, ""
        self.images += images
        if done.HasField("timings"):
            queue = done.timings.queue.ToMicroseconds() / 1e6
            self.queue = (self.queue or 0) + queue
            self.run = (self.run or 0) + max(0.0, done.timings.total.ToMicroseconds() / 1e6 - queue)


def pairs(values: Mapping[str, object]) -> str:
    """Return `key=value` pairs: floats with three digits, text in JSON's quotes where it is not plain, `-` for none."""
    return " ".join(f"{key}={_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if value in (None, ""):
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)
