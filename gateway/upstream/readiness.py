"""Readiness: whether images can be made now, and if not, why. `/readyz` reports it; the log records each change."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb

from ..access.model_names import DEFAULT_NAME
from ..errors import ServiceError, StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..access.model_names import ModelNames
    from .client import ImageClient

log = logging.getLogger(__name__)

STOPPING = "the gateway is stopping"
FIRST_LOOKS = 0.5  # seconds between two checks until the service has answered


class Readiness:
    """Readiness, from the service's health and its models. `stopping` ends it before the port closes."""

    def __init__(self, client: ImageClient, names: ModelNames) -> None:
        self._client = client
        self._names = names
        self._logged: str | None = None
        self.stopping = False

    async def why_not(self) -> str:
        """Return why images can't be made now, without addresses or internals; empty if they can."""
        reason = STOPPING if self.stopping else await self._client.unready() or await self._model_trouble()
        if reason != self._logged:
            worse = reason and self._logged is not None  # before the first success this is not a warning
            log.log(logging.WARNING if worse else logging.INFO, "not ready: %s" if reason else "ready%s", reason)
            self._logged = reason
        return reason

    async def first(self) -> None:
        """Return once the service's models are known. Raises StartError for an alias to an unknown model."""
        while not (known := await self._known()):
            await self.why_not()
            await asyncio.sleep(FIRST_LOOKS)
        for alias, model in self._names.aliases.items():
            if model not in (DEFAULT_NAME, *known):
                wanted = f"the image service has {', '.join(known)}"
                raise StartError(f"--aliases names an unknown model in '{alias}={model}': {wanted}")

    async def _known(self) -> list[str]:
        """Return the names of the service's models; empty while the service is not serving."""
        try:
            return [] if await self._client.unready() else [model.name for model in await self._client.models()]
        except ServiceError:
            return []

    async def _model_trouble(self) -> str:
        """Return what is wrong with the default model, or why models can't be listed; empty if nothing is."""
        try:
            models = await self._client.models()
        except ServiceError as error:
            return _sentence(error.message)
        default = _default(models, self._names.default)
        if default is not None and default.state != pb.MODEL_STATE_FAILED:
            return ""
        return "the default model can't be loaded" if default else "the image service does not have the default model"


def _default(models: Sequence[pb.Model], name: str) -> pb.Model | None:
    named = (model for model in models if model.name == name)
    return next(named, None) if name else next(iter(models), None)


def _sentence(text: str) -> str:
    """Return a message as part of a sentence: lower case, without the full stop."""
    return text[:1].lower() + text[1:].rstrip(".")
