"""A server as a child of `tintype up`, which starts it as `python -m tintype.cli.servers.child serve|gateway`.

stdin    its settings, one line of JSON; then it stays open as a lifeline: its end is the end of the parent
stdout   its address, one line, once it is ready
stderr   its log, and one line if it can't start
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from functools import partial
from threading import Thread
from typing import Any

from ..errors import guarded
from ..settings.definitions import SECTIONS, settings_of
from .serve import SERVERS, serve


def dump(config: Any) -> bytes:
    """Settings as a line of JSON, for `load`."""
    return json.dumps(asdict(config), default=str).encode() + b"\n"


def load(section: str, line: bytes) -> Any:
    """The settings that `dump` wrote."""
    settings = settings_of(SECTIONS[section])
    said = {name: value for name, value in json.loads(line).items() if value is not None}
    read = {name: settings[name].kind.from_toml(value) for name, value in said.items() if name in settings}
    return SECTIONS[section](**(said | read))


def main(command: str) -> int:
    """Serve what the parent wants, and end with it."""
    config = load(SERVERS[command].section, sys.stdin.buffer.readline())
    Thread(target=_end_with_parent, name="tintype-lifeline", daemon=True).start()
    return guarded(partial(serve, command, config, partial(print, flush=True)))


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
