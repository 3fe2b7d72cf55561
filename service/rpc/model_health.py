"""Health from the states of the models and of the device.

NOT_SERVING until the default model has been loaded or has failed, while no model can be served, while the device hangs,
and while draining.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ModelNotFound
from ..models import ModelState

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..models import ModelStatus, Repository
    from .health import Health

log = logging.getLogger(__name__)

POLL = 0.05  # seconds between two checks of the models


async def follow(repository: Repository, health: Health, hangs: Callable[[], bool]) -> None:
    """Update the health from the states of the models, and from whether the device hangs, until cancelled."""
    await wait_until_loaded(repository)
    hung = False
    while True:
        was_hung, hung = hung, hangs()
        if hung and not was_hung:
            log.error("the device hangs: a call does not end; not serving until it does")
        elif was_hung and not hung:
            log.warning("the device works again")
        await health.set_all(serving=not hung and can_serve(repository))
        await asyncio.sleep(POLL)


async def wait_until_loaded(repository: Repository, name: str = "") -> ModelStatus:
    """Return the status of a model once it is no longer loading."""
    # Models load in threads without an event loop.
    while (status := repository.status(name)).state.is_loading:  # noqa: ASYNC110
        await asyncio.sleep(POLL)
    return status


def can_serve(repository: Repository) -> bool:
    """Return whether at least one model is loaded or can be loaded."""
    return any(_is_usable(repository, spec.name) for spec in repository.specs())


def _is_usable(repository: Repository, name: str) -> bool:
    with suppress(ModelNotFound):  # it was removed meanwhile
        return repository.status(name).state is not ModelState.FAILED
    return False
