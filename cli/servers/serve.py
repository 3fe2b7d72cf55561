"""`tintype serve` and `tintype gateway`: one server in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tintype.gateway.http.process import raise_open_files

from ..settings.sources import Sources, stray_variables
from .log import configure

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Server:
    """A server: the section of its settings, the module whose `run(config)` serves, and what it calls when ready."""

    section: str
    module: str
    ready: str


SERVERS = {
    "serve": Server("service", "tintype.service.server", "on_ready"),
    "gateway": Server("gateway", "tintype.gateway.server", "ready"),
}


def run(arguments: Namespace) -> int:
    """Serve with what flags, variables and file say."""
    warn()
    config = Sources.gather(vars(arguments)).config(SERVERS[arguments.command].section)
    return serve(arguments.command, config)


def serve(command: str, config: Any, on_ready: Callable[[str], None] | None = None) -> int:
    """Serve until a signal; call `on_ready` with the address.

    Raises the error that explains why the server can't start.
    """
    raise_open_files()
    server = SERVERS[command]
    configure(server.section, config)
    import_module(server.module).run(config, **{server.ready: on_ready})
    return 0


def warn() -> None:
    """Name the variables that look like misspelt ones of ours."""
    for line in stray_variables(os.environ):
        sys.stderr.write(f"tintype: {line}\n")
