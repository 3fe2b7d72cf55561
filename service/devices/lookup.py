"""Models by name over several devices, also those that have appeared in the folder of models."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import grpc

from ..errors import ModelNotFound

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

    from .pool import Device, DevicePool

INTERVAL = 1.0  # seconds between two times that unknown names make the devices list their models


class ModelLookup:
    """Finds models of a pool; for an unknown name the devices list their models again."""

    def __init__(self, pool: DevicePool) -> None:
        self._pool = pool
        self._next = 0.0  # time of `monotonic`

    async def find(self, name: str) -> pb.Model:
        """Return a model as a device has described it; the default for an empty name. Raises ModelNotFound."""
        try:
            return self._pool.model(name)
        except ModelNotFound:
            if monotonic() < self._next:
                raise
        self._next = monotonic() + INTERVAL
        await asyncio.gather(*map(self._list, self._pool.answering()))
        return self._pool.model(name)

    async def _list(self, device: Device) -> None:
        connection = device.connection
        try:
            models = await connection.list_models() if connection else None
        except grpc.aio.AioRpcError:
            return
        if models and device.connection is connection:
            device.models = self._pool.models = {model.name: model for model in models.models}
