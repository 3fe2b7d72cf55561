"""Servers as processes of their own that end with this one, however it ends."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .child import dump
from .errors import UserError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator

SPARE = 5.0  # seconds that a server gets on top of its grace before it is killed


class ChildEnded(UserError):
    """A server ended by itself. With exit code 2 it has said why, and nothing is left to say."""

    def __init__(self, name: str, code: int) -> None:
        self.told = code == self.exit_code
        how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"the {name} {how}; its log above may say why")


class Stop:
    """What Ctrl-C and SIGTERM ask for: `asked` is set by the first, `hurry` by the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def more(self) -> None:
        """Ask once more."""
        (self.hurry if self.asked.is_set() else self.asked).set()


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM to a Stop while inside the block."""
    stop, loop = Stop(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.more)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Child:
    """One server. Its session is its own, so that Ctrl-C in the terminal reaches only the parent, who sees to it."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process

    async def ready(self) -> str:
        """Wait until it serves, and return its address. Raises ChildEnded."""
        assert self.process.stdout is not None, "a child's stdout is a pipe"  # noqa: S101
        line = await self.process.stdout.readline()
        if not line:
            raise await self.ended()
        return line.decode().strip()

    async def ended(self) -> ChildEnded:
        """Wait for its end, and return what to say of it."""
        return ChildEnded(self.name, await self.process.wait())

    async def stop(self, grace: float, hurry: asyncio.Event) -> None:
        """Let it drain; kill it when that takes too long or there is a hurry."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        ended, hurried = asyncio.create_task(self.process.wait()), asyncio.create_task(hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=grace + SPARE, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if self.process.returncode is None:
            self.process.kill()
        await ended


@asynccontextmanager
async def child(command: str, name: str, config: Any, stop: Stop) -> AsyncIterator[Child]:
    """Start a server with `config`; leaving the block ends it, within its `grace` and a few seconds."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tintype.cli.child", command), stdin=PIPE, stdout=PIPE, start_new_session=True
    )
    assert process.stdin is not None, "a child's stdin is a pipe"  # noqa: S101
    process.stdin.write(dump(config))
    server = Child(name, process)
    try:
        yield server
    finally:
        await server.stop(config.grace, stop.hurry)
