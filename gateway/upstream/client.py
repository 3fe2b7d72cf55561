"""The way to the gRPC service.

- One channel, made inside the event loop that uses it; never two such loops in one process (grpc.aio).
- Pictures come one for each message (StreamImages), so an answer of ten needs no message of ten.
- A service that is down is answered for at once (no wait_for_ready); one that comes back is found within seconds.
- Calls are repeated on UNAVAILABLE before anything has come back, on another replica where there is one.
- Leaving `generate` or closing `stream`, by whatever way, cancels the call.
- When the gateway has no more time, `give_up` ends the calls, and those who wait for them hear why.
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

from ..errors import ServiceError, Stopping
from .channel import NOT_SERVING
from .status import from_rpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from google.protobuf.message import Message

    from .channel import Route

log = logging.getLogger(__name__)

SERVICE = pb.DESCRIPTOR.services_by_name["ImageService"].full_name
MAX_MESSAGE = 64 * 2**20
LOOKUP_TIMEOUT = 10.0  # seconds for what needs no model
HEALTH_TIMEOUT = 2.0

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
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # The service allows pings every 5 seconds; other servers cut clients that ping more often than every 5 minutes.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # The least of these bounds a connection attempt, too; the default for the most is 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
)


class ImageClient(Protocol):
    """The gateway's view of a service.

    All methods but `unready` raise ServiceError.
    """

    async def generate(self, request: pb.GenerateImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all pictures of a request, ordered by index."""

    def stream(
        self, request: pb.GenerateImagesRequest, previews: pb.Previews | None = None, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Tell what happens until `completed`; closing the generator cancels the request."""

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first."""

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name."""

    async def unready(self) -> str:
        """Return why images can't be made now; empty if they can."""


class ServiceClient:
    """A channel to a service; a context manager.

    `timeout` bounds each request for images, in seconds.
    """

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
        """Close the channel; calls that still run are cancelled."""
        await self._channel.close()

    def give_up(self) -> None:
        """End the requests for pictures that run: each raises Stopping."""
        given_up, self._running = self._running, set()
        for call in given_up:
            call.cancel()

    async def generate(self, request: pb.GenerateImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all pictures of a request, ordered by index. Raises ServiceError, Stopping."""
        async with aclosing(self.stream(request, request_id=request_id)) as events:
            return await _collect(events)

    async def stream(
        self, request: pb.GenerateImagesRequest, previews: pb.Previews | None = None, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Tell what happens until `completed`; closing it cancels the request. Raises ServiceError, Stopping."""
        asked = pb.StreamImagesRequest(generation=request, previews=previews)
        asked.generation.timeout.FromMilliseconds(round(self._timeout * 1000))
        metadata = (("x-request-id", request_id), *self._route.metadata)
        call = self._images.StreamImages(asked, timeout=self._timeout, metadata=metadata)
        self._running.add(call)
        try:
            async for event in call:
                yield event
                if event.HasField("completed"):
                    return
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError as error:
            if call in self._running:  # it is the caller who was cancelled
                raise
            raise Stopping from error
        finally:
            self._running.discard(call)
            call.cancel()
        raise ServiceError("The image service ended its answer early.", status=500, reason="INTERNAL")

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first. Raises ServiceError."""
        try:
            return list((await self._look(self._images.ListModels, pb.ListModelsRequest())).models)
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name. Raises ServiceError."""
        try:
            found: pb.GetModelResponse = await self._look(self._images.GetModel, pb.GetModelRequest(model=name))
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        return found.model

    async def unready(self) -> str:
        """Return why the service can't make images now, without addresses.

        The result is empty if it can.
        """
        try:
            health = await self._health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=HEALTH_TIMEOUT)
        except grpc.aio.AioRpcError as error:
            log.debug("the image service is not reached: %s: %s", error.code().name, error.details())
            return self._route.trouble(error) or "the image service does not answer"
        serving = health.status == health_pb2.HealthCheckResponse.SERVING
        return "" if serving else NOT_SERVING

    async def _look(self, method: Any, request: Message) -> Any:
        return await method(request, timeout=LOOKUP_TIMEOUT, metadata=self._route.metadata)


async def _collect(events: AsyncGenerator[pb.StreamImagesResponse]) -> pb.GenerateImagesResponse:
    """Return the pictures and the summary of a stream of events."""
    images: list[pb.Image] = []
    done = pb.Completed()
    async for event in events:
        if event.HasField("image"):
            images.append(event.image)
        elif event.HasField("completed"):
            done = event.completed
    images.sort(key=lambda image: image.index)
    return pb.GenerateImagesResponse(
        images=images,
        model=done.model,
        usage=done.usage if done.HasField("usage") else None,
        timings=done.timings if done.HasField("timings") else None,
    )
