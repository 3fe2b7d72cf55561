"""A new configuration for a running gateway. Everything is checked before anything changes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from tintype.v1 import logs
from tintype.v1.settings import restart_note

from .access.model_names import ModelNames
from .errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .config import GatewayConfig
    from .context import Gateway

log = logging.getLogger(__name__)

ALIAS_WAIT = 10.0  # seconds that the service has to serve a new model that an alias names
ALIAS_INTERVAL = 0.5  # seconds between two looks


class RunningConfig:
    """The configuration in force; `on_change` is called with a new one once it is."""

    def __init__(self, gateway: Gateway, on_change: Callable[[GatewayConfig], object]) -> None:
        self._gateway = gateway
        self._on_change = on_change

    async def apply(self, new: GatewayConfig) -> None:
        """Apply the settings that can change at run time; the log names the others.

        Requests that are running keep the previous settings.

        Raises:
            StartError, KeysError: a setting is invalid; all of them stay as they are then.
        """
        gateway = self._gateway
        config, flags = gateway.config.reloaded(new)
        await asyncio.to_thread(config.check_access)
        names = ModelNames(config.model_aliases, config.strict_models)
        await self._check_aliases(names)
        await gateway.keys.configure(config.key_file, optional=config.keys is None, api_key=config.api_key)
        gateway.config, gateway.names, gateway.readiness.names = config, names, names
        logs.set_level(config.log_level)
        self._on_change(config)
        log.info("the settings were read again%s", restart_note(flags))

    async def _check_aliases(self, names: ModelNames) -> None:
        """Raise StartError for an alias to an unknown model, unless the service gets that model soon."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ALIAS_WAIT
        while problem := await self._gateway.readiness.alias_problem(names):
            if loop.time() > until:
                raise StartError(problem)
            await asyncio.sleep(ALIAS_INTERVAL)
