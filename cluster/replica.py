"""One replica: the calls of `tintype.service` on one device, behind the gRPC ingress of Ray Serve.

The servicer is that of the gRPC server, so keys, rates, ids and the log are the same.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2
from ray import serve

from tintype.service.assembly import assemble
from tintype.service.errors import PermissionDenied, TintypeError, Unauthenticated
from tintype.service.lifecycle import tracing
from tintype.service.rpc.access import Caller, admit, set_caller
from tintype.service.rpc.health import NOT_SERVING, SERVING
from tintype.service.rpc.model_health import can_serve
from tintype.service.rpc.servicer import ImageServicer
from tintype.service.rpc.status import to_status
from tintype.v1 import image_service_pb2 as pb
from tintype.v1 import logs
from tintype.v1.keys import Keys
from tintype.v1.limits import SERVICE

from .context import CallAborted, CallContext

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tintype.service.config import ServiceConfig

    from .context import RayContext

log = logging.getLogger(__name__)

# The methods have the names of the contract.
# ruff: noqa: N802


class HeldModel:
    """A model that Serve counts as present on this replica. Serve drops the least recently used one."""

    def __init__(self, unload: Callable[[], None]) -> None:
        self._unload: Callable[[], None] | None = unload

    def __del__(self) -> None:
        """Evict the model. Serve calls this, and then the garbage collector does."""
        unload, self._unload = self._unload, None
        if unload:
            with suppress(TintypeError):
                unload()


class Replica:
    """ImageService, and the standard health service, on one device. The class of the deployment.

    With `wait` it is constructed once the default model is loaded; otherwise requests wait for their models, and tell
    of their progress. Raises ServeError, or the error of the model.
    """

    def __init__(self, service: ServiceConfig, *, models_per_replica: int = 0, wait: bool = True) -> None:
        logs.configure("service", service)
        self._parts = ExitStack()
        self._repository, self._device, api = self._parts.enter_context(assemble(service))
        self._hang_after = service.hang_after
        tracer = self._parts.enter_context(tracing(service))
        self._servicer: Any = ImageServicer(api, tracer=tracer)  # CallContext has only what it uses of a context
        self._keys = Keys(service.key_file, optional=service.keys is None, api_key=service.api_key)
        self._announced = _announcer(self._hold, models_per_replica)
        self._repository.load()
        if wait:
            self._repository.wait()
        log.info("replica ready: models %s", ", ".join(self._repository.names()))

    def __del__(self) -> None:
        """Free the models. Serve calls this once no request runs any more."""
        if hasattr(self, "_parts"):
            self._parts.close()

    def check_health(self) -> None:
        """Raise if the device hangs; Serve then replaces this replica.

        Failed models are no reason: a new process would not load them either.
        """
        if self._hangs():
            raise RuntimeError("the device hangs: a call does not end")

    # ImageService.

    async def GenerateImages(self, request: pb.GenerateImagesRequest, grpc_context: RayContext) -> Any:
        """Generate all images and return one response."""
        return await self._answer("GenerateImages", request, grpc_context, pb.GenerateImagesResponse)

    async def StreamImages(self, request: pb.StreamImagesRequest, grpc_context: RayContext) -> AsyncGenerator[Any]:
        """Generate images and yield each event as it happens."""
        context = CallContext(grpc_context)
        try:
            await self._admit("StreamImages", context)
            async with aclosing(context.stream(self._servicer.StreamImages(request, context))) as responses:
                async for response in responses:
                    yield response
        except CallAborted:
            yield pb.StreamImagesResponse()  # carries the status

    async def ListModels(self, request: pb.ListModelsRequest, grpc_context: RayContext) -> Any:
        """List the models."""
        return await self._answer("ListModels", request, grpc_context, pb.ListModelsResponse)

    async def GetModel(self, request: pb.GetModelRequest, grpc_context: RayContext) -> Any:
        """Describe a model."""
        return await self._answer("GetModel", request, grpc_context, pb.GetModelResponse)

    async def LoadModel(self, request: pb.LoadModelRequest, grpc_context: RayContext) -> Any:
        """Load a model on the replica that gets this call."""
        return await self._answer("LoadModel", request, grpc_context, pb.LoadModelResponse)

    async def UnloadModel(self, request: pb.UnloadModelRequest, grpc_context: RayContext) -> Any:
        """Evict a model from the memory of the replica that gets this call."""
        return await self._answer("UnloadModel", request, grpc_context, pb.UnloadModelResponse)

    async def UpscaleImage(self, request: pb.UpscaleImageRequest, grpc_context: RayContext) -> Any:
        """Enlarge an image."""
        return await self._answer("UpscaleImage", request, grpc_context, pb.UpscaleImageResponse)

    # grpc.health.v1.

    async def Check(self, request: Any, grpc_context: RayContext) -> Any:
        """Return the health of the replica that gets this call."""
        if request.service not in ("", SERVICE):
            grpc_context.set_code(grpc.StatusCode.NOT_FOUND)
            return health_pb2.HealthCheckResponse()
        return health_pb2.HealthCheckResponse(status=self._health())

    async def List(self, _request: Any) -> Any:
        """Return the health of all services."""
        response = health_pb2.HealthCheckResponse(status=self._health())
        return health_pb2.HealthListResponse(statuses={"": response, SERVICE: response})

    async def Watch(self, _request: Any, grpc_context: RayContext) -> AsyncGenerator[Any]:
        """Refuse the call: an open Watch would count as a running request, which holds up scaling and draining.

        gRPC's clients then take the connection for healthy; which replicas are, Serve decides.
        """
        grpc_context.set_code(grpc.StatusCode.UNIMPLEMENTED)
        grpc_context.set_details("Watch is not available in a cluster; use Check")
        responses: tuple[Any, ...] = ()
        for response in responses:
            yield response
        raise NotImplementedError

    def _health(self) -> Any:
        return SERVING if can_serve(self._repository) and not self._hangs() else NOT_SERVING

    def _hangs(self) -> bool:
        return self._hang_after > 0 and self._device.hangs(self._hang_after)

    # Calls.

    async def _answer(self, name: str, request: Any, grpc_context: RayContext, empty: Callable[[], Any]) -> Any:
        """Return the response of a call, or an empty one that carries the status of an error."""
        context = CallContext(grpc_context)
        try:
            await self._admit(name, context)
            call: Awaitable[Any] = getattr(self._servicer, name)(request, context)
            return await context.run(call)
        except CallAborted:
            return empty()

    async def _admit(self, name: str, context: CallContext) -> None:
        """Check the key of a call, and announce its model to Serve. Raises CallAborted."""
        try:
            caller = await admit(self._keys, f"/{SERVICE}/{name}", context.invocation_metadata())
        except (Unauthenticated, PermissionDenied) as error:
            status = to_status(error)
            await context.abort(status.code, status.message, status.trailing)
        else:
            set_caller(caller)
            await self._announce(caller)

    async def _announce(self, caller: Caller) -> None:
        """Let Serve send further requests for the model of this call to this replica."""
        name = serve.get_multiplexed_model_id()
        if name in self._repository.names() and caller.may_use(name):
            with suppress(TintypeError):  # the call itself fails with it
                await self._announced(name)

    async def _hold(self, name: str) -> HeldModel:
        """Begin to load a model; the call itself waits for it and reports the progress."""
        self._repository.load(name, pinned=False)
        return HeldModel(lambda: self._repository.unload(name))


def _announcer(hold: Callable[[str], Awaitable[HeldModel]], most: int) -> Callable[[str], Awaitable[HeldModel]]:
    """Return a function that announces a model to Serve, which remembers up to `most` of them (0: all).

    Serve sets an attribute of the function that it wraps, so it can't be a method.
    """

    async def announce(name: str) -> HeldModel:
        return await hold(name)

    announcer: Callable[[str], Awaitable[HeldModel]] = serve.multiplexed(max_num_models_per_replica=most or -1)(
        announce
    )
    return announcer
