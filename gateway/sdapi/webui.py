"""What all requests of the web UI's clients share: what runs, and which model is chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..access.admission import identified
from ..requests.generation import base_url
from .jobs import Jobs

if TYPE_CHECKING:
    from litestar import Request

    from tintype.v1 import image_service_pb2 as pb

    from ..context import Gateway
    from .checkpoints import Checkpoints

    AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class WebUi:
    """The gateway as these clients see it."""

    gateway: Gateway
    checkpoints: Checkpoints
    jobs: Jobs = field(default_factory=Jobs)

    def owner(self, request: AnyRequest) -> str:
        """Return the name of the key that a request came with, empty where none is needed. Raises NoKey."""
        identified(self.gateway, request)
        return str(request.state.visit.key)

    async def models(self, request: AnyRequest) -> list[pb.Model]:
        """Return the models that the caller may use. Raises NoKey, ServiceError."""
        return await identified(self.gateway, request).client.models()

    async def model(self, request: AnyRequest) -> pb.Model:
        """Return the model that is chosen. Raises NoKey, ServiceError."""
        models = await self.models(request)
        return self.checkpoints.current(request.state.visit.key, models)

    async def picture(self, request: AnyRequest, given: str, param: str) -> bytes:
        """Return the file of a picture that a client sent. Raises BadPicture."""
        return await self.gateway.pictures.read(given, param, base_url(self.gateway, request))
