"""A new configuration for a running service.

Models, keys and what shutdown and log need change at once. Everything is checked before anything changes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tintype.v1 import logs
from tintype.v1.settings import restart_note

from .rpc.listen import ServeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tintype.v1.keys import Keys

    from .config import ServiceConfig

log = logging.getLogger(__name__)


class RunningConfig:
    """The configuration in force; `update` brings a new one to what is served."""

    def __init__(self, config: ServiceConfig, keys: Keys, update: Callable[[ServiceConfig], Awaitable[None]]) -> None:
        self.config = config
        self._keys, self._update = keys, update

    async def apply(self, new: ServiceConfig) -> None:
        """Apply the settings that can change at run time; the log names the others.

        Raises:
            ServeError, KeysError: a setting is invalid; all of them stay as they are then.
        """
        config, flags = self.config.reloaded(new)
        await asyncio.to_thread(_check, config)
        await self._update(config)
        await self._keys.configure(config.key_file, optional=config.keys is None, api_key=config.api_key)
        logs.set_level(config.log_level)
        self.config = config
        log.info("the settings were read again%s", restart_note(flags))


def _check(config: ServiceConfig) -> None:
    """Raise ServeError or KeysError if a configuration cannot be served."""
    try:
        config.check()
    except ValueError as error:
        raise ServeError(str(error)) from error
    config.check_access()
