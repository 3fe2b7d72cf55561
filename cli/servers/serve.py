"""`tintype serve` and `tintype gateway`: one server in the foreground, until SIGINT or SIGTERM.

SIGHUP makes it read its settings again, with the flags of its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from tintype.gateway.config import GatewayConfig
from tintype.gateway.http.process import raise_open_file_limit
from tintype.service.config import ServiceConfig
from tintype.v1.signals import Reloading

from ..errors import UserError
from ..settings.checks import local_service
from ..settings.definitions import section_of
from ..settings.printing import find_problems, format_config
from ..settings.sources import Sources, warn_of_unknown_variables
from .log import check, configure

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from tintype.v1.settings import Common

    Config = TypeVar("Config", bound=Common)


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """The command of one server: its configuration, and the module whose `run(config, reloading=...)` serves.

    `on_ready` is the name of that function's argument for a callback, which gets the address.
    """

    config: type[Common]
    module: str
    on_ready: str


SERVERS = {
    "serve": ServerCommand(ServiceConfig, "tintype.service.launch", "on_ready"),
    "gateway": ServerCommand(GatewayConfig, "tintype.gateway.server", "ready"),
}


def run(arguments: Namespace) -> int:
    """Serve with the settings from flags, variables and file."""
    warn_of_unknown_variables()
    sources, config = Sources.gather(vars(arguments)), SERVERS[arguments.command].config
    if arguments.print_config:
        return print_config(sources, section_of(config))
    reloading: Reloading[Common] = Reloading(partial(read_again, arguments, config))
    reloading.catch_hangup()
    return serve(arguments.command, sources.config(config), reloading=reloading)


def read_again(arguments: Namespace, config: type[Config]) -> Config:
    """Return the configuration of a server from the sources as they are now, checked as at the start.

    Raises:
        UserError, KeysError: it is invalid.
    """
    new = Sources.gather(vars(arguments)).config(config)
    check(new)
    new.check_access()
    return new


def print_config(sources: Sources, *sections: str) -> int:
    """Print the effective settings of some sections. Raises UserError if a value is invalid."""
    print(format_config(sources, sections), end="")
    for problem in find_problems(sources, sections):
        raise UserError(problem)
    for section in sections:
        check(local_service(sources) if section == "service" else sources.config(GatewayConfig))
    return 0


def serve(
    command: str,
    config: Common,
    on_ready: Callable[[str], None] | None = None,
    reloading: Reloading[Any] | None = None,
) -> int:
    """Serve until a signal, and call `on_ready` with the address; `reloading` brings new configurations.

    Raises the error that explains why the server cannot start.
    """
    raise_open_file_limit()
    configure(section_of(type(config)), config)
    server = SERVERS[command]
    import_module(server.module).run(config, reloading=reloading, **{server.on_ready: on_ready})
    return 0
