"""A stored request for images, and the job whose run is the current request.

A job runs through the handler of its path, as an HTTP request inside the process. Handlers find the job in the
request's state: it has passed rate limits already, its key is known by name, and its seed was set at submission.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tintype.v1.tracing import current_span

if TYPE_CHECKING:
    from litestar import Request

    from tintype.v1 import image_service_pb2 as pb

    from ..requests.idempotency import RequestKey

STATE = "job"  # the place of the job in the state of its request
# Headers that handlers and the log of the run read. Credentials are never stored.
KEPT_HEADERS = ("host", "content-type", "accept", "user-agent")


class StoredRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the handler of a job reads of its request, without the body; `client` is an address."""

    path: str
    query: str
    scheme: str
    root_path: str
    client: str
    server: tuple[str, int] | None
    request_id: str
    headers: dict[str, str]

    @classmethod
    def of(cls, request: Request[Any, Any, Any], path: str) -> StoredRequest:
        """Return the request to store; it is to run at `path`, and continues the trace of its submission."""
        scope = request.scope
        headers = {name: request.headers[name] for name in KEPT_HEADERS if name in request.headers}
        return cls(
            path=path,
            query=str(scope["query_string"], "latin-1"),
            scheme=str(scope["scheme"]),
            root_path=str(scope.get("root_path") or ""),
            client=request.client.host if request.client else "",
            server=_server(scope.get("server")),
            request_id=str(request.state.request_id),
            headers=headers | dict(current_span().headers()),
        )

    def scope(self, job: RunningJob) -> dict[str, Any]:
        """Return the ASGI scope of the request that runs `job`."""
        headers = self.headers | {"x-request-id": self.request_id}
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": self.scheme,
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query.encode("latin-1"),
            "root_path": self.root_path,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": (self.client, 0) if self.client else None,
            "server": self.server,
            "state": {STATE: job},
        }


@dataclass(slots=True)
class Progress:
    """The progress of a job that makes `images` images, from the events of the service.

    `position` is the one in the service's queue until the job has `begun`. `eta` is in seconds: the time to its start,
    then to its end.
    """

    images: int
    begun: bool = False
    position: int = 0
    eta: float | None = None
    _finished: int = 0
    _steps: dict[int, float] = field(default_factory=dict)

    def update(self, event: pb.StreamImagesResponse) -> None:
        """Update the progress from an event of the service."""
        if event.HasField("queued"):
            self.position = event.queued.position
        else:
            self.begun, self.position = True, 0
        if event.HasField("progress"):
            self._steps[event.progress.index] = event.progress.step / max(1, event.progress.steps)
        elif event.HasField("image"):
            self._finished += 1
            self._steps.pop(event.image.index, None)
        latest = event.progress if event.HasField("progress") else event.queued
        if latest.HasField("eta"):
            self.eta = latest.eta.ToMilliseconds() / 1000

    @property
    def share(self) -> float:
        """The finished share of the work, 0 to 1."""
        return round(min(1.0, (self._finished + sum(self._steps.values())) / max(1, self.images)), 3)


@dataclass(slots=True, eq=False)
class RunningJob:
    """A job that this process runs.

    `key` is the name of the caller's key, empty without one. `end` ends the run as a client's disconnection would.
    """

    id: str
    key: str
    model: str
    seed: int
    attempts: int
    progress: Progress
    reply_key: RequestKey | None = None
    end: asyncio.Event = field(default_factory=asyncio.Event)
    is_cancelled: bool = False
    is_lost: bool = False

    def cancel(self) -> None:
        """End the run, because the caller cancels the job."""
        self.is_cancelled = True
        self.end.set()

    def lose(self) -> None:
        """End the run, because another process has taken the job."""
        self.is_lost = True
        self.end.set()


def running_job(request: Request[Any, Any, Any]) -> RunningJob | None:
    """Return the job that a request runs; None for a client's request."""
    job: RunningJob | None = request.scope["state"].get(STATE)
    return job


def _server(address: Any) -> tuple[str, int] | None:
    """Return the address that received a request; None at a Unix socket, which has no port."""
    return (str(address[0]), int(address[1])) if address and address[1] is not None else None


def draw_seed() -> int:
    """Return a random seed."""
    return secrets.randbelow(2**32)
