"""The signals that stop service and gateway."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a server.

    SIGHUP is left out if it is ignored, as under `nohup`.
    """
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    return [signal.SIGINT, signal.SIGTERM, *(one for one in hangup if signal.getsignal(one) is not signal.SIG_IGN)]


@contextmanager
def handled(caught: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `caught` with each stop signal while inside the block.

    It is called in the running loop.
    """
    loop, numbers = asyncio.get_running_loop(), stop_signals()
    with suppress(NotImplementedError):  # Windows: there Ctrl-C ends the process
        for number in numbers:
            loop.add_signal_handler(number, partial(caught, number))
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)
