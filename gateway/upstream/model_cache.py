"""Models as the service described them a few seconds ago, for decisions that every request with images needs."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

    from .client import ImageClient

MAX_AGE = 5.0  # seconds; what a model takes changes only when its folder does
MAX_MODELS = 1000


class ModelCache:
    """A cache of models by name. The state of a model may have changed since."""

    def __init__(self, client: ImageClient, max_age: float = MAX_AGE) -> None:
        self._client = client
        self._max_age = max_age
        self._models: dict[str, tuple[float, pb.Model]] = {}

    async def get(self, name: str) -> pb.Model:
        """Return a model as of at most `max_age` seconds ago, the default one without a name. Raises ServiceError."""
        found = self._models.get(name)
        if found and monotonic() - found[0] < self._max_age:
            return found[1]
        model = await self._client.model(name)
        if len(self._models) >= MAX_MODELS:
            self._models.clear()
        self._models[name] = (monotonic(), model)
        return model
