"""Readiness: whether images can be generated now, and if not, why. `/readyz` reports it; each change is logged."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tintype.v1 import image_service_pb2 as pb

from ..access.model_names import DEFAULT_NAME
from ..errors import ServiceError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..access.model_names import ModelNames
    from .client import ImageClient

log = logging.getLogger(__name__)

STOPPING = "the gateway is stopping"
CHECK_INTERVAL = 0.5  # seconds between two checks until the service has answered


class Readiness:
    """Readiness, from the service's health and its models. Once `stopping` is set, the gateway is not ready.

    `are_all_healthy` says whether all replicas are, so that the list of models is complete.
    """

    def __init__(
        self, client: ImageClient, names: ModelNames, are_all_healthy: Callable[[], bool] = lambda: True
    ) -> None:
        self._client = client
        self._are_all_healthy = are_all_healthy
        self.names = names
        self._logged_reason: str | None = None
        self.stopping = False

    async def problem(self) -> str:
        """Return why images can't be generated now, without addresses or internals; empty if they can."""
        reason = STOPPING if self.stopping else await self._client.health_problem() or await self._model_problem()
        if reason != self._logged_reason:
            is_warning = reason and self._logged_reason is not None  # before the first success this is not a warning
            log.log(logging.WARNING if is_warning else logging.INFO, "not ready: %s" if reason else "ready%s", reason)
            self._logged_reason = reason
        return reason

    async def wait_and_check(self) -> None:
        """Wait for the service, then check the aliases. Raises StartError for an alias to an unknown model."""
        while not (served := await self._model_names()):
            await self.problem()
            await asyncio.sleep(CHECK_INTERVAL)
        if problem := self._certain_alias_problem(self.names, served):
            raise StartError(problem)

    async def alias_problem(self, names: ModelNames) -> str:
        """Return which of these aliases names an unknown model; empty if none does, or the service does not answer."""
        served = await self._model_names()
        return self._certain_alias_problem(names, served) if served else ""

    def _certain_alias_problem(self, names: ModelNames, served: Sequence[str]) -> str:
        """Return which alias names an unknown model; if a replica does not answer, it may have it: that is logged."""
        problem = _alias_problem(names, served)
        if not problem or self._are_all_healthy():
            return problem
        log.warning("%s; a replica that is not healthy may have it", problem)
        return ""

    async def _model_names(self) -> list[str]:
        """Return the names of the service's models; empty while the service is not serving."""
        try:
            return [] if await self._client.health_problem() else [model.name for model in await self._client.models()]
        except ServiceError:
            return []

    async def _model_problem(self) -> str:
        """Return what is wrong with the default model, or why models can't be listed; empty if nothing is."""
        try:
            models = await self._client.models()
        except ServiceError as error:
            return _sentence(error.message)
        default = _default(models, self.names.default)
        if default is not None and default.state != pb.MODEL_STATE_FAILED:
            return ""
        return "the default model can't be loaded" if default else "the image service does not have the default model"


def _alias_problem(names: ModelNames, served: Sequence[str]) -> str:
    """Return which alias names a model that is not served; empty if none does."""
    for alias, model in names.aliases.items():
        if model not in (DEFAULT_NAME, *served):
            problem = f"the image service has {', '.join(served)}"
            return f"--aliases names an unknown model in '{alias}={model}': {problem}"
    return ""


def _default(models: Sequence[pb.Model], name: str) -> pb.Model | None:
    matching = (model for model in models if model.name == name)
    return next(matching, None) if name else next(iter(models), None)


def _sentence(text: str) -> str:
    """Return a message as part of a sentence: lower case, without the full stop."""
    return text[:1].lower() + text[1:].rstrip(".")
