"""A server as a child process of `tintype up`: `python -m tintype.cli.servers.child serve|gateway`.

stdin    its configuration, one line of JSON, and later each new one; end of file means that the parent has ended
stdout   its address, one line, once it is ready; later the number of each new configuration that it has applied
stderr   its log, and one line if it cannot start

SIGHUP is ignored: a service manager may send it to all processes, but the parent reads the settings.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tintype.v1.signals import HANGUP, Reloading, lines_from

from ..errors import run_with_exit_code
from ..settings.definitions import settings_of
from ..settings.values import HubModel
from .serve import SERVERS, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tintype.v1.settings import Common

Config = TypeVar("Config", bound="Common")


def dump_config(config: Common) -> bytes:
    """Return a configuration as a line of JSON."""
    return json.dumps(asdict(config), default=str).encode() + b"\n"


def load_config(config: type[Config], line: bytes) -> Config:
    """Return the configuration that `dump_config` wrote."""
    settings = settings_of(config)
    values: dict[str, Any] = {name: value for name, value in json.loads(line).items() if value is not None}
    read = {name: _as_paths(settings[name].type.from_toml(value)) for name, value in values.items() if name in settings}
    return config(**(values | read))


def _as_paths(value: object) -> object:
    """Return models as the paths that they are: the parent has resolved hub ids."""
    if isinstance(value, tuple):
        return tuple(map(_as_paths, value))
    return Path(value.text) if isinstance(value, HubModel) else value


def main(command: str) -> int:
    """Serve with the configuration from stdin, and end when the parent ends."""
    if HANGUP:
        signal.signal(HANGUP, signal.SIG_IGN)
    lines = lines_from(sys.stdin.fileno())
    config = SERVERS[command].config
    settings = load_config(config, next(lines, b""))
    given = _Given(config)
    reloading = Reloading(given.read, given.announce)
    Thread(target=_follow_parent, args=(lines, given, reloading), name="tintype-lifeline", daemon=True).start()
    return run_with_exit_code(partial(serve, command, settings, partial(print, flush=True), reloading))


class _Given(Generic[Config]):
    """The newest configuration of the parent. They are numbered from 1."""

    def __init__(self, config: type[Config]) -> None:
        self._config = config
        self._newest = (0, b"")
        self._read = 0

    def add(self, line: bytes) -> None:
        """Keep a new configuration."""
        self._newest = (self._newest[0] + 1, line)

    def read(self) -> Config:
        """Return the newest configuration."""
        self._read, line = self._newest
        return load_config(self._config, line)

    def announce(self, problem: str) -> None:
        """Report to the parent that the configuration is applied which was read last, unless there is a problem."""
        if not problem:
            print(self._read, flush=True)


def _follow_parent(lines: Iterator[bytes], given: _Given[Any], reloading: Reloading[Common]) -> None:
    """Request a reload for each line of the parent, until it ends."""
    for line in lines:
        given.add(line)
        reloading.request()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
