"""Calls without a model in memory: to one replica that can answer, or to all of them."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc

from tintype.v1 import image_service_pb2 as pb
from tintype.v1.replicas.union import merge, merge_lists

from ..errors import ServiceError
from .attempts import Attempts, Interrupted, cancellation, interruption
from .channel import call_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from .replica import Replica
    from .replicas import Replicas

LOOKUP_TIMEOUT = 10.0  # seconds for calls that need no loaded model
LIST_PATIENCE = 1.0  # seconds until the models of a replica are those of its last check; health checks wait for them


class Lookups:
    """The models of all replicas as those of one service."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def models(self) -> list[pb.Model]:
        """Return the models, the default model first. Raises ServiceError."""
        request = pb.ListModelsRequest()
        if not self._replicas.are_several:
            return list((await self._one("ListModels", request)).models)
        merged = merge_lists(await self._lists(await self._healthy()))
        default = self._replicas.default
        for model in merged.models:
            model.is_default = model.name == default
        return sorted(merged.models, key=lambda model: (not model.is_default, model.name))

    async def model(self, name: str) -> pb.Model:
        """Return one model, as a replica that has it in memory describes it. Raises ServiceError."""
        name = self._replicas.model_to_send(name)
        response: pb.GetModelResponse = await self._one("GetModel", pb.GetModelRequest(model=name), name)
        return response.model

    async def load(self, name: str) -> pb.Model:
        """Begin to load a model on one replica; return it as it is then. Raises ServiceError."""
        name = self._replicas.model_to_send(name)
        response: pb.LoadModelResponse = await self._one(
            "LoadModel", pb.LoadModelRequest(model=name, no_wait=True), name
        )
        return response.model

    async def unload(self, name: str) -> pb.Model:
        """Unload a model from all replicas; return it as it is then. Raises ServiceError."""
        request = pb.UnloadModelRequest(model=self._replicas.model_to_send(name))
        if not self._replicas.are_several:
            response: pb.UnloadModelResponse = await self._one("UnloadModel", request)
            return response.model
        responses = await self._each(await self._healthy(), "UnloadModel", request, LOOKUP_TIMEOUT)
        return merge({address: each.model for address, each in responses.items()})

    async def upscale(
        self,
        request: pb.UpscaleImageRequest,
        request_id: str,
        timeout: float,  # noqa: ASYNC109
    ) -> pb.UpscaleImageResponse:
        """Return an image that one replica enlarges. Raises ServiceError, GatewayStopping."""
        response: pb.UpscaleImageResponse = await self._one(
            "UpscaleImage", request, request_id=request_id, timeout=timeout
        )
        return response

    async def _one(
        self,
        method: str,
        request: Message,
        model: str = "",
        request_id: str = "",
        timeout: float = LOOKUP_TIMEOUT,  # noqa: ASYNC109
    ) -> Any:
        """Call a method of one replica, of another if the first is lost. Raises ServiceError."""
        attempts = Attempts(self._replicas, model, request_id)
        while True:
            replica = await attempts.choose()
            try:
                return await self._call(replica, method, request, timeout, request_id)
            except Interrupted as interrupted:
                await attempts.prepare_next(replica, interrupted)

    async def _healthy(self) -> list[Replica]:
        """Return the healthy replicas, at least one. Raises ServiceError."""
        return self._replicas.healthy or [await Attempts(self._replicas, "").choose()]

    async def _lists(self, replicas: Sequence[Replica]) -> dict[str, pb.ListModelsResponse]:
        """Return the models of several replicas by address; of those that do not answer, as last seen."""
        known = {replica.address: replica.listed for replica in replicas if replica.listed}
        timeout = LIST_PATIENCE if len(known) == len(replicas) else LOOKUP_TIMEOUT
        try:
            return known | await self._each(replicas, "ListModels", pb.ListModelsRequest(), timeout)
        except ServiceError as error:
            if known and error.status == HTTPStatus.GATEWAY_TIMEOUT:
                return known
            raise

    async def _each(
        self,
        replicas: Sequence[Replica],
        method: str,
        request: Message,
        timeout: float,  # noqa: ASYNC109
    ) -> dict[str, Any]:
        """Return the responses of several replicas by address, without those that failed. Raises if all failed."""
        calls = [self._call(replica, method, request, timeout) for replica in replicas]
        results = await asyncio.gather(*calls, return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if len(failed) == len(results):
            raise failed[0].error if isinstance(failed[0], Interrupted) else failed[0]
        found = zip(replicas, results, strict=True)
        return {replica.address: result for replica, result in found if not isinstance(result, BaseException)}

    async def _call(
        self,
        replica: Replica,
        method: str,
        request: Message,
        timeout: float,  # noqa: ASYNC109
        request_id: str = "",
    ) -> Any:
        """Call a method of one replica. Raises Interrupted."""
        model = getattr(request, "model", "")
        metadata = call_metadata(replica.route, request_id, model)
        call = getattr(replica.images, method)(request, timeout=timeout, metadata=metadata)
        with replica.running(call, model) as running:
            try:
                return await call
            except grpc.aio.AioRpcError as error:
                raise interruption(error) from error
            except asyncio.CancelledError as error:
                raise cancellation(running, error) from None
