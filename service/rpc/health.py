"""Health by `grpc.health.v1`, of ImageService and of the whole server.

NOT_SERVING until the default model has been loaded or has failed, while no model can be served, and while draining.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

from ..models import ModelState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models import ModelStatus, Repository

POLL = 0.05  # seconds between two checks of the models
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(health.aio.HealthServicer):  # type: ignore[misc]  # untyped
    """The standard health service for `services`; grpcio's own lacks List."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__()
        self._services = tuple(services)

    async def List(self, _request: object, context: object) -> Any:  # noqa: N802  # gRPC's name
        """Return the health of every service."""
        request = health_pb2.HealthCheckRequest
        statuses = {name: await self.Check(request(service=name), context) for name in self._services}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def set_all(self, *, serving: bool) -> None:
        """Set the health of all services; without effect once draining has started."""
        for service in self._services:
            await self.set(service, SERVING if serving else NOT_SERVING)

    async def follow(self, repository: Repository) -> None:
        """Update the health from the states of the models, until cancelled."""
        await wait_until_loaded(repository)
        while True:
            await self.set_all(serving=can_serve(repository))
            await asyncio.sleep(POLL)


async def wait_until_loaded(repository: Repository, name: str = "") -> ModelStatus:
    """Return the status of a model once it is no longer loading."""
    # Models load in threads without an event loop.
    while (status := repository.status(name)).state.is_loading:  # noqa: ASYNC110
        await asyncio.sleep(POLL)
    return status


def can_serve(repository: Repository) -> bool:
    """Return whether at least one model is loaded or can be loaded."""
    return any(repository.status(spec.name).state is not ModelState.FAILED for spec in repository.specs())
