"""Client of the gRPC image service.

- There is one channel, created inside the event loop that uses it; grpc.aio allows one such loop in a process.
- Each image is a message of its own (StreamImages), so ten images need no larger messages than one.
- If the service is down, calls fail at once (no wait_for_ready). The channel reconnects within seconds.
- Calls that fail with UNAVAILABLE before the first response message are retried, on another replica if there is one.
- The call is cancelled when `generate` is cancelled or `stream` is closed.
- When the gateway's grace period is over, `cancel_requests` ends all requests for images; each raises GatewayStopping.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import image_service_pb2_grpc as pb_grpc
from tintype.v1.reasons import Reason
from tintype.v1.tracing import current_span
from tintype.v1.transport import KEEPALIVE_OPTIONS, MESSAGE_OPTIONS, REQUEST_ID, SERVICE

from ..errors import GatewayStopping, ServiceError
from .channel import NOT_SERVING
from .status import from_rpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.message import Message

    from .channel import Route

log = logging.getLogger(__name__)

LOOKUP_TIMEOUT = 10.0  # seconds for calls that need no loaded model
HEALTH_TIMEOUT = 2.0  # seconds

_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVICE},
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
OPTIONS = (
    *MESSAGE_OPTIONS,
    # The service allows a ping every 5 seconds; other servers disconnect clients that ping more than every 5 minutes.
    *KEEPALIVE_OPTIONS,
    ("grpc.http2.max_pings_without_data", 0),
    # The minimum also limits the time of a connection attempt; the default of the maximum is 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
)


class ImageClient(Protocol):
    """The interface of an image service, as the gateway uses it. Only `health_problem` never raises ServiceError."""

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index."""

    def stream(self, request: pb.StreamImagesRequest, request_id: str = "") -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`; closing the generator cancels the request."""

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first."""

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name."""

    async def health_problem(self) -> str:
        """Return why images can't be generated now; empty if they can."""


class ServiceClient:
    """A channel to a service; a context manager. `timeout` limits each request for images, in seconds."""

    def __init__(self, route: Route, *, timeout: float = 600.0) -> None:
        self._route = route
        self._timeout = timeout
        self._running: set[grpc.aio.Call] = set()
        self._channel = route.channel(OPTIONS)
        self._images = pb_grpc.ImageServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; running calls are cancelled."""
        await self._channel.close()

    def cancel_requests(self) -> None:
        """Cancel the running requests for images; each raises GatewayStopping."""
        cancelled, self._running = self._running, set()
        for call in cancelled:
            call.cancel()

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index. Raises ServiceError, GatewayStopping."""
        async with aclosing(self.stream(request, request_id)) as events:
            return await collect(events)

    async def stream(
        self, request: pb.StreamImagesRequest, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`; closing cancels the request. Raises ServiceError, GatewayStopping."""
        metadata = ((REQUEST_ID, request_id), *current_span().headers(), *self._route.metadata)
        call = self._images.StreamImages(request, timeout=self._timeout, metadata=metadata)
        self._running.add(call)
        try:
            async for event in call:
                yield event
                if event.HasField("completed"):
                    return
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError as error:
            if call in self._running:  # cancelled by the caller, not by `cancel_requests`
                raise
            raise GatewayStopping from error
        finally:
            self._running.discard(call)
            call.cancel()
        raise ServiceError("The image service ended its response early.", status=500, reason=Reason.INTERNAL)

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first. Raises ServiceError."""
        try:
            return list((await self._lookup(self._images.ListModels, pb.ListModelsRequest())).models)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name. Raises ServiceError."""
        try:
            response: pb.GetModelResponse = await self._lookup(self._images.GetModel, pb.GetModelRequest(model=name))
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        return response.model

    async def health_problem(self) -> str:
        """Return why the service can't generate images now, without addresses; empty if it can."""
        try:
            health = await self._health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=HEALTH_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            log.debug("cannot reach the image service: %s: %s", error.code().name, error.details())
            return self._route.failure_reason(error) or "the image service does not answer"
        is_serving = health.status == health_pb2.HealthCheckResponse.SERVING
        return "" if is_serving else NOT_SERVING

    async def _lookup(self, method: Any, request: Message) -> Any:
        return await method(request, timeout=LOOKUP_TIMEOUT, metadata=self._route.metadata)


async def collect(events: AsyncGenerator[pb.StreamImagesResponse]) -> pb.GenerateImagesResponse:
    """Return the images of a stream of events, ordered by index, with its summary."""
    images: list[pb.Image] = []
    summary = pb.Completed()
    async for event in events:
        if event.HasField("image"):
            images.append(event.image)
        elif event.HasField("completed"):
            summary = event.completed
    images.sort(key=lambda image: image.index)
    return pb.GenerateImagesResponse(
        images=images,
        model=summary.model,
        usage=summary.usage if summary.HasField("usage") else None,
        timings=summary.timings if summary.HasField("timings") else None,
    )
