"""Health by `grpc.health.v1`, of ImageService and of the whole server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

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
