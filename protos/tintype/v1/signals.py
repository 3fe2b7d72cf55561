"""Signals that stop service and gateway."""

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

    SIGHUP is left out if the process ignores it, as under `nohup`.
    """
    hangup = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []
    return [signal.SIGINT, signal.SIGTERM, *(one for one in hangup if signal.getsignal(one) is not signal.SIG_IGN)]


@contextmanager
def on_stop_signal(callback: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Call `callback` in the running event loop for each stop signal received inside the block."""
    loop, numbers = asyncio.get_running_loop(), stop_signals()
    with suppress(NotImplementedError):  # on Windows, where Ctrl-C ends the process
        for number in numbers:
            loop.add_signal_handler(number, partial(callback, number))
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)
