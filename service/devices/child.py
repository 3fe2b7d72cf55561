"""The service of one device as a child process of the front: `python -m tintype.service.devices.child`.

stdin    a `ChildStart`, and later each new `ServiceConfig`: pickled, in base64, one line each; end of file means that
         the process shall end, or the front has ended
stdout   lines: `listening ADDRESS`, then `ready`, or `failed REASON` if it can't serve
stderr   its log

Signals that stop servers are ignored: a service manager sends them to all processes at once, but only the front knows
when its last request is done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import sys
from base64 import b64decode
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Any, TextIO

from tintype.v1 import logs
from tintype.v1.keyfile import KeysError
from tintype.v1.signals import Reloading, lines_from, stop_signals

from ..lifecycle import run_loop
from ..rpc.listen import ServeError
from ..server import serve
from .process import FAILED, LISTENING, READY, UPDATED, ChildStart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..config import ServiceConfig


def _announcements() -> TextIO:
    """Return the pipe to the front as a text file; other output to stdout goes to stderr from now on."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _message(line: bytes) -> Any:
    return pickle.loads(b64decode(line))  # noqa: S301  # from the process that started this one


def _follow_stdin(lines: Iterator[bytes], update: Callable[[bytes], object], stop: Callable[[], object]) -> None:
    """Call `update` for each line, and `stop` at the end of stdin; on a thread."""
    for line in lines:
        update(line)
    stop()


async def _serve(config: ServiceConfig, lines: Iterator[bytes], pipe: TextIO) -> None:
    """Serve until the end of stdin, and announce what happens. Raises ServeError, KeysError."""
    stop, loop, announce = asyncio.Event(), asyncio.get_running_loop(), partial(_announce, pipe)
    newest = [b""]
    reloading: Reloading[ServiceConfig] = Reloading(lambda: _message(newest[0]), partial(announce, UPDATED))

    def update(line: bytes) -> None:
        newest[0] = line
        reloading.request()

    end = partial(loop.call_soon_threadsafe, stop.set)
    Thread(target=_follow_stdin, args=(lines, update, end), name="tintype-lifeline", daemon=True).start()
    on_listening = partial(announce, LISTENING)
    await serve(config, on_listening=on_listening, on_ready=lambda _: announce(READY), stop=stop, reloading=reloading)


def _announce(pipe: TextIO, word: str, text: str = "") -> None:
    pipe.write(f"{word} {' '.join(text.split())}\n")


def main() -> int:
    """Serve with the configuration from stdin, until it ends."""
    pipe = _announcements()
    lines = lines_from(sys.stdin.fileno())
    start: ChildStart = _message(next(lines))
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
    if start.cpus and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # the container's CPUs have changed meanwhile
            os.sched_setaffinity(0, start.cpus)
    logs.configure(f"service[{start.device}]", start.config)
    if start.config.log_level != "debug":  # the front logs every call, with its device
        logging.getLogger("tintype.service.rpc.servicer").setLevel(logging.WARNING)
    try:
        run_loop(_serve(start.config, lines, pipe))
    except (ServeError, KeysError) as error:
        _announce(pipe, FAILED, str(error))
        return ServeError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
