"""What reaches a running server from outside: signals that stop it, and requests to read its settings again.

SIGHUP means one of two things. If the process had a controlling terminal that is gone, its terminal was closed: the
server stops. Otherwise, as from `systemctl reload`, the server reads its settings again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .threads import Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

log = logging.getLogger(__name__)

Config = TypeVar("Config")

TERMINAL = "/dev/tty"  # the controlling terminal of the process that opens it
HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # not on Windows


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a server.

    SIGHUP is left out if the process ignores it, as under `nohup`.
    """
    return [signal.SIGINT, signal.SIGTERM, *([HANGUP] if HANGUP and not _is_ignored(HANGUP) else [])]


@contextmanager
def on_stop_signal(
    callback: Callable[[signal.Signals], None], reload: Callable[[], None] | None = None
) -> Iterator[None]:
    """Call `callback` in the running event loop for each stop signal received inside the block.

    With `reload`, SIGHUP calls that instead, unless the terminal was closed.
    """
    loop, numbers, had_terminal = asyncio.get_running_loop(), stop_signals(), has_terminal()

    def on_hangup() -> None:
        if reload is None or (had_terminal and not has_terminal()):
            callback(signal.SIGHUP)
        else:
            reload()

    with suppress(NotImplementedError):  # on Windows, where Ctrl-C ends the process
        for number in numbers:
            loop.add_signal_handler(number, on_hangup if number == HANGUP else partial(callback, number))
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


def has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:  # ENXIO: there is none, or it was closed
        return False
    except AttributeError:  # on Windows
        return False
    return True


class Reloading(Generic[Config]):
    """Brings new configurations to a running server.

    `read` returns the new configuration, on a thread. `request`, from any thread, asks for that; requests before
    `follow` runs are kept. `done` is called after each one, with the reason if it is refused, otherwise with "".
    """

    def __init__(self, read: Callable[[], Config], done: Callable[[str], object] = lambda _: None) -> None:
        self._read, self._done = read, done
        self._thread = Threads("tintype-reload", 1)
        self._is_requested = False
        self._wake: Callable[[], object] = lambda: None

    def request(self) -> None:
        """Ask for a new configuration."""
        self._is_requested = True
        with suppress(RuntimeError):  # the event loop is closed
            self._wake()

    def catch_hangup(self) -> None:
        """Keep SIGHUP as a request until an event loop handles it, so that it does not end a server that starts."""
        had_terminal = has_terminal()

        def on_hangup(number: int, _: Any) -> None:
            if had_terminal and not has_terminal():
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            else:
                self._is_requested = True

        if HANGUP and not _is_ignored(HANGUP):
            signal.signal(HANGUP, on_hangup)

    async def follow(self, apply: Callable[[Config], Awaitable[None]]) -> None:
        """Apply each requested configuration, until cancelled.

        If it can't be read or applied, the log has the reason in one line, and the server keeps its settings.
        """
        requested, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, requested.set)
        while True:
            if not self._is_requested:
                await requested.wait()
            requested.clear()
            self._is_requested = False
            try:
                await apply(await self._thread.call(self._read))
            except Exception as error:
                is_expected = hasattr(error, "exit_code")
                reason = " ".join(str(error).split()) or type(error).__name__
                log.error("the settings are not reloaded: %s", reason, exc_info=not is_expected)  # noqa: TRY400
                self._done(reason)
            else:
                self._done("")


def lines_from(descriptor: int) -> Iterator[bytes]:
    """Yield each complete line of a pipe, without its end, until the pipe is closed.

    It reads the descriptor itself: the lock of a file object would block the exit of the interpreter.
    """
    rest = b""
    while piece := os.read(descriptor, 2**16):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def _is_ignored(number: signal.Signals) -> bool:
    return signal.getsignal(number) is signal.SIG_IGN
