"""Client of the gRPC image service, which may have several replicas.

- Each replica has its own channel, created inside the event loop that uses it; grpc.aio allows one such loop in a
  process. `replicas` follows them and chooses one for each request.
- Each image is a message of its own (StreamImages), so ten images need no larger messages than one.
- A request gets a seed here if it has none. If its replica is lost, it is repeated once, on another one, with the same
  seed: only the images that the client lacks are made, and the client gets nothing twice. A second loss ends it,
  because it may be the reason.
- A replica that refuses a request before it begins, because it drains or its queue is full, costs no repetition.
- Any other error that the service explains is its answer.
- The call is cancelled when `generate` is cancelled or `stream` is closed.
- When the gateway's grace period is over, `cancel_requests` ends all requests for images; each raises GatewayStopping.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

import grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.reasons import Reason
from tintype.v1.replicas.delivery import Delivery
from tintype.v1.tracing import current_span

from ..errors import ServiceError
from .attempts import Attempts, Interrupted, cancellation, interruption
from .channel import call_metadata
from .lookups import Lookups
from .replicas import Replicas
from .status import two_deaths
from .targets import look_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from .channel import Route
    from .replica import Replica
    from .replicas import ReplicaState
    from .targets import Resolver

HEALTH_TIMEOUT = 2.0  # seconds


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

    async def load(self, name: str) -> pb.Model:
        """Begin to load a model; return it as it is then."""

    async def unload(self, name: str) -> pb.Model:
        """Unload a model when the requests that use it have ended; return it as it is then."""

    async def upscale(self, request: pb.UpscaleImageRequest, request_id: str = "") -> pb.UpscaleImageResponse:
        """Return an enlarged image."""

    async def health_problem(self) -> str:
        """Return why images can't be generated now; empty if they can."""


class ClientLayer:
    """The other calls of an ImageClient around `client`; a subclass adds `generate` and `stream`."""

    def __init__(self, client: ImageClient) -> None:
        self._client = client

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first. Raises ServiceError."""
        return await self._client.models()

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name. Raises ServiceError."""
        return await self._client.model(name)

    async def load(self, name: str) -> pb.Model:
        """Begin to load a model; return it as it is then. Raises ServiceError."""
        return await self._client.load(name)

    async def unload(self, name: str) -> pb.Model:
        """Unload a model when the requests that use it have ended. Raises ServiceError."""
        return await self._client.unload(name)

    async def upscale(self, request: pb.UpscaleImageRequest, request_id: str = "") -> pb.UpscaleImageResponse:
        """Return an enlarged image. Raises ServiceError."""
        return await self._client.upscale(request, request_id)

    async def health_problem(self) -> str:
        """Return why images can't be generated now; empty if they can."""
        return await self._client.health_problem()


class ServiceClient:
    """A client of all replicas of a service; a context manager.

    `timeout` limits each request for images, in seconds; `resolve` looks up the names of `dns:///` addresses.
    Raises StartError for invalid addresses and certificates that can't be read.
    """

    def __init__(self, route: Route, *, timeout: float = 600.0, resolve: Resolver = look_up) -> None:
        self._timeout = timeout
        self._replicas = Replicas(route, resolve)
        self._lookups = Lookups(self._replicas)

    async def __aenter__(self) -> Self:
        self._replicas.run()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channels; running calls are cancelled."""
        await self._replicas.close()

    def renew_certificates(self) -> None:
        """Use the certificates as they are now for new calls; running ones go on."""
        self._replicas.renew()

    def cancel_requests(self) -> None:
        """Cancel the running requests for images; each raises GatewayStopping."""
        self._replicas.stop_requests()

    def replica_states(self) -> list[ReplicaState]:
        """Return the state of each replica, in the order of their addresses."""
        return self._replicas.states()

    def are_all_healthy(self) -> bool:
        """Whether all replicas are healthy, so that `models` is complete."""
        return all(state.healthy for state in self._replicas.states())

    async def generate(self, request: pb.StreamImagesRequest, request_id: str = "") -> pb.GenerateImagesResponse:
        """Return all images of a request, ordered by index. Raises ServiceError, GatewayStopping."""
        async with aclosing(self.stream(request, request_id)) as events:
            return await collect(events)

    async def stream(
        self, request: pb.StreamImagesRequest, request_id: str = ""
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Yield events, the last one `completed`; closing cancels the request. Raises ServiceError, GatewayStopping.

        `request` gets a seed if it has none, and the name of the default model where replicas have different ones.
        """
        started = monotonic()
        model = request.generation.model = self._replicas.model_to_send(request.generation.model)
        delivery, attempts = (
            Delivery(request, measures=False),
            Attempts(self._replicas, model, request_id, killed=two_deaths()),
        )
        while not delivery.is_complete:
            replica = await attempts.choose()
            elapsed = monotonic() - started
            try:
                events = self._attempt(replica, delivery.request(elapsed), request_id, self._timeout - elapsed)
                async with aclosing(events):
                    async for event in events:
                        accepted = delivery.accept(event)
                        if accepted is not None:
                            yield accepted
                        if event.HasField("completed"):
                            return
            except Interrupted as interrupted:
                await attempts.prepare_next(replica, interrupted)
        yield delivery.completed(model or self._replicas.default)

    async def models(self) -> list[pb.Model]:
        """Return the models of all replicas, the default model first. Raises ServiceError."""
        return await self._lookups.models()

    async def model(self, name: str) -> pb.Model:
        """Return one model; the default model for an empty name. Raises ServiceError."""
        return await self._lookups.model(name)

    async def load(self, name: str) -> pb.Model:
        """Begin to load a model on one replica; return it as it is then. Raises ServiceError."""
        return await self._lookups.load(name)

    async def unload(self, name: str) -> pb.Model:
        """Unload a model from all replicas when the requests that use it have ended. Raises ServiceError."""
        return await self._lookups.unload(name)

    async def upscale(self, request: pb.UpscaleImageRequest, request_id: str = "") -> pb.UpscaleImageResponse:
        """Return an enlarged image, made by any replica. Raises ServiceError, GatewayStopping."""
        return await self._lookups.upscale(request, request_id, self._timeout)

    async def health_problem(self) -> str:
        """Return why the service can't generate images now, without addresses; empty if it can."""
        return await self._replicas.find_problem(HEALTH_TIMEOUT)

    async def _attempt(
        self,
        replica: Replica,
        request: pb.StreamImagesRequest,
        request_id: str,
        timeout: float,  # noqa: ASYNC109
    ) -> AsyncGenerator[pb.StreamImagesResponse]:
        """Send a request to one replica and yield its events. Raises Interrupted, ServiceError, GatewayStopping."""
        current_span().set({"server.address": replica.address})
        metadata = call_metadata(replica.route, request_id, request.generation.model)
        call = replica.images.StreamImages(request, timeout=max(0.0, timeout), metadata=metadata)
        model = request.generation.model or replica.default
        with replica.running(call, model, is_generation=True) as running:
            try:
                async for event in call:
                    running.seen = monotonic()
                    if event.HasField("image"):
                        replica.mark_loaded(model)
                    if event.WhichOneof("event"):  # a newer service may send events that this gateway does not know
                        yield event
                    if event.HasField("completed"):
                        return
            except grpc.aio.AioRpcError as error:
                raise interruption(error) from error
            except asyncio.CancelledError as error:
                raise cancellation(running, error) from None
        raise ServiceError("The image service ended its response early.", status=500, reason=Reason.INTERNAL)


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
