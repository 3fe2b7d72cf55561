"""The service of one device as a child process of the front: `python -m tintype.service.devices.child`.

stdin    a pickled `ChildStart`; it stays open, and end of file means that the front has ended
stdout   lines: `listening ADDRESS`, then `ready`, or `failed REASON` if it can't serve
stderr   its log
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import TextIO

from tintype.v1 import logs
from tintype.v1.keyfile import KeysError

from ..lifecycle import run_loop
from ..rpc.listen import ServeError
from ..server import serve
from .process import FAILED, LISTENING, READY, ChildStart


def _announcements() -> TextIO:
    """Return the pipe to the front as a text file; other output to stdout goes to stderr from now on."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _end_with_front() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(pipe: TextIO, word: str, text: str = "") -> None:
    pipe.write(f"{word} {' '.join(text.split())}\n")


def main() -> int:
    """Serve with the configuration from stdin, and end when the front ends."""
    pipe = _announcements()
    start: ChildStart = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the process that started this one
    Thread(target=_end_with_front, name="tintype-lifeline", daemon=True).start()
    if start.cpus and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # the container's CPUs have changed meanwhile
            os.sched_setaffinity(0, start.cpus)
    logs.configure(f"service[{start.device}]", start.config)
    if start.config.log_level != "debug":  # the front logs every call, with its device
        logging.getLogger("tintype.service.rpc.servicer").setLevel(logging.WARNING)
    announce = partial(_announce, pipe)
    try:
        run_loop(serve(start.config, on_listening=partial(announce, LISTENING), on_ready=lambda _: announce(READY)))
    except (ServeError, KeysError) as error:
        announce(FAILED, str(error))
        return ServeError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
