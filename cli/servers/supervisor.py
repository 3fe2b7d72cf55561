"""Servers as child processes of the command.

A server that crashes is started again; all end when the parent ends, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from tintype.v1.signals import handled

from ..errors import SETTINGS, UserError
from .child import dump

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator, Sequence

log = logging.getLogger(__name__)

SPARE = 5.0  # seconds that a server gets on top of its grace before it is killed
DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each new start after a crash; one more crash ends the command
STABLE = 60.0  # seconds after which a server that is ready counts as stable, and earlier crashes no longer


class ChildEnded(UserError):
    """A server that ended by itself.

    With the exit code for wrong settings it has already printed the reason; `told` is then true.
    """

    exit_code = 3

    def __init__(self, name: str, code: int) -> None:
        self.told = code == SETTINGS
        how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"the {name} {how}; its log above may say why")


class Stop:
    """The requests of signals to stop.

    `asked` is set by the first signal, `hurry` by the second; `gently` asks for the lame-duck time.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.gently = False

    def more(self, number: signal.Signals) -> None:
        """Ask once more."""
        self.gently = number != signal.SIGINT
        (self.hurry if self.asked.is_set() else self.asked).set()


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGINT, SIGTERM and SIGHUP to a Stop while inside the block."""
    stop = Stop()
    with handled(stop.more):
        yield stop


class Child:
    """One server. Its session is its own, so that Ctrl-C in the terminal reaches only the parent, who sees to it."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self._is_ready = False

    async def ready(self) -> str:
        """Wait until it serves, and return its address. Raises ChildEnded."""
        assert self.process.stdout is not None, "a child's stdout is a pipe"  # noqa: S101
        line = await self.process.stdout.readline()
        if not line:
            raise await self.ended()
        self._is_ready = True
        return line.decode().strip()

    async def ended(self) -> ChildEnded:
        """Wait for its end, and return what to say of it."""
        return ChildEnded(self.name, await self.process.wait())

    async def stop(self, patience: float, stop: Stop) -> None:
        """Let the server drain; kill it after `patience` seconds, or on `hurry`.

        SIGINT leaves the lame duck out, but only a server that is ready handles it.
        """
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT if self._is_ready and not stop.gently else signal.SIGTERM)
        ended, hurried = asyncio.create_task(self.process.wait()), asyncio.create_task(stop.hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if self.process.returncode is None:
            self.process.kill()
        await ended


@asynccontextmanager
async def child(command: str, name: str, config: Any, stop: Stop) -> AsyncIterator[Child]:
    """Start a server with `config`.

    Leaving the block stops it, within its time to drain and a few seconds.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tintype.cli.servers.child", command),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None, "a child's stdin is a pipe"  # noqa: S101
    process.stdin.write(dump(config))
    server = Child(name, process)
    try:
        yield server
    finally:
        await server.stop(config.grace + config.lame_duck + SPARE, stop)


class Keeper:
    """Keeps one server running; a context manager, whose end is the server's.

    A server that crashes after it was ready is started again, after each of `delays`. `address` is known once it is
    ready for the first time; `gone` is done, with what to say, when it will not be started again.
    """

    def __init__(self, command: str, name: str, config: Any, stop: Stop, *, delays: Sequence[float] = DELAYS) -> None:
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._start = (command, name, config, stop)
        self._delays = delays

    async def __aenter__(self) -> Self:
        self.gone = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gone.cancel()
        await asyncio.gather(self.gone, return_exceptions=True)

    async def _keep(self) -> ChildEnded:
        crashes = 0
        while True:
            ended, is_stable = await self._serve()
            crashes = 0 if is_stable else crashes
            if ended.told or not self.address.done() or crashes >= len(self._delays):
                return ended
            delay = self._delays[crashes]
            crashes += 1
            log.error("%s; starting it again in %g s (%d of %d)", ended, delay, crashes, len(self._delays))
            await asyncio.sleep(delay)

    async def _serve(self) -> tuple[ChildEnded, bool]:
        """Run the server once; return its end and whether it was stable."""
        async with child(*self._start) as server:
            try:
                address = await server.ready()
            except ChildEnded as ended:
                return ended, False
            if not self.address.done():
                self.address.set_result(address)
            clock = asyncio.get_running_loop().time
            began = clock()
            return await server.ended(), clock() - began >= STABLE
