"""Servers as supervised child processes of the command.

A server that crashes is restarted. Every child ends when the parent ends, even if the parent is killed.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Self

from tintype.v1.signals import on_stop_signal

from ..errors import USER_ERROR, UserError
from .child import dump_config

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from tintype.v1.settings import Common

log = logging.getLogger(__name__)

KILL_MARGIN = 5.0  # seconds after a server's time to drain, before it is killed
RESTART_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each restart; one more crash ends the command
STABLE_AFTER = 60.0  # seconds after which a ready server is stable: earlier crashes no longer count


class ServerExited(UserError):
    """A server process ended by itself.

    `reported` says whether the process has printed the reason: its exit code is USER_ERROR.
    """

    exit_code = 3

    def __init__(self, name: str, code: int) -> None:
        self.reported = code == USER_ERROR
        how = f"was ended by signal {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        super().__init__(f"the {name} {how}; its log above may say why")


class StopRequest:
    """Stop requests from signals.

    The first signal sets `received`, the second `immediate`. `lame_duck` says whether the servers have their lame-duck
    time first: after every signal except SIGINT.
    """

    def __init__(self) -> None:
        self.received = asyncio.Event()
        self.immediate = asyncio.Event()
        self.lame_duck = False

    def add(self, number: signal.Signals) -> None:
        """Record a signal."""
        self.lame_duck = number != signal.SIGINT
        (self.immediate if self.received.is_set() else self.received).set()


@contextmanager
def stop_signals(reload: Callable[[], None] | None = None) -> Iterator[StopRequest]:
    """Record SIGINT and SIGTERM in a StopRequest while inside the block; SIGHUP too, or it calls `reload`."""
    stop = StopRequest()
    with on_stop_signal(stop.add, reload):
        yield stop


class ServerProcess:
    """One server process. It has its own session, so that Ctrl-C in a terminal reaches only the parent."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.process = process
        self._is_ready = False
        self._sent: dict[int, Common] = {}  # by number, without those before the last one that was applied
        self._count = 0

    def send(self, config: Common) -> None:
        """Send a configuration to the server; the first one is that of its start. `config` is the one in force."""
        if not self._count:
            self.config = config
        self._sent[self._count] = config
        self._count += 1
        assert self.process.stdin is not None, "a child's stdin is a pipe"  # noqa: S101
        self.process.stdin.write(dump_config(config))

    async def ready(self) -> str:
        """Wait until the server is ready, and return its address. Raises ServerExited."""
        assert self.process.stdout is not None, "a child's stdout is a pipe"  # noqa: S101
        line = await self.process.stdout.readline()
        if not line:
            raise await self.exited()
        self._is_ready = True
        return line.decode().strip()

    async def follow(self, applied: Callable[[Common], object]) -> None:
        """Call `applied` with each further configuration that the server has accepted, until its stdout ends."""
        assert self.process.stdout is not None, "a child's stdout is a pipe"  # noqa: S101
        async for line in self.process.stdout:
            number = int(line)
            self.config = self._sent[number]
            self._sent = {each: config for each, config in self._sent.items() if each >= number}
            applied(self.config)

    async def exited(self) -> ServerExited:
        """Wait for the end of the process, and return an error that describes it."""
        return ServerExited(self.name, await self.process.wait())

    async def stop(self, timeout: float, stop: StopRequest) -> None:  # noqa: ASYNC109  # then it is killed
        """Let the server drain; kill it after `timeout` seconds, or at an immediate stop.

        SIGINT skips the lame-duck time, but only a server that is ready handles SIGINT.
        """
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT if self._is_ready and not stop.lame_duck else signal.SIGTERM)
        ended, immediate = asyncio.create_task(self.process.wait()), asyncio.create_task(stop.immediate.wait())
        await asyncio.wait({ended, immediate}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        immediate.cancel()
        if self.process.returncode is None:
            self.process.kill()
        await ended


@asynccontextmanager
async def server_process(command: str, name: str, config: Common, stop: StopRequest) -> AsyncIterator[ServerProcess]:
    """Run a server process with `config` while inside the block.

    Leaving the block stops the process, and kills it after its time to drain plus KILL_MARGIN.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tintype.cli.servers.child", command),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
    )
    server = ServerProcess(name, process)
    server.send(config)
    try:
        yield server
    finally:
        await server.stop(server.config.grace + server.config.lame_duck + KILL_MARGIN, stop)


class Supervisor:
    """Keeps one server running while inside its `async with` block.

    A server that crashes after it was ready is restarted, after each of `delays` in turn, with the last configuration
    that it accepted. `address` is set when the server is first ready. `finished` is done, with the error, when the
    server will not be restarted.
    """

    def __init__(
        self,
        command: str,
        name: str,
        config: Common,
        stop: StopRequest,
        *,
        delays: Sequence[float] = RESTART_DELAYS,
    ) -> None:
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._command, self._name, self._stop = command, name, stop
        self._accepted = self._wanted = config
        self._delays = delays
        self._server: ServerProcess | None = None

    async def __aenter__(self) -> Self:
        self.finished = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.finished.cancel()
        await asyncio.gather(self.finished, return_exceptions=True)

    def update(self, config: Common) -> None:
        """Send a new configuration to the server, or to the next one if it has crashed."""
        self._wanted = config
        if self._server:
            self._server.send(config)

    def _accept(self, config: Common) -> None:
        self._accepted = config

    async def _supervise(self) -> ServerExited:
        crashes = 0
        while True:
            exited, is_stable = await self._run_once()
            crashes = 0 if is_stable else crashes
            if exited.reported and self._wanted is not self._accepted:
                self._accepted = self._wanted  # the newer settings may mend what is wrong with these
                continue
            if exited.reported or not self.address.done() or crashes >= len(self._delays):
                return exited
            delay = self._delays[crashes]
            crashes += 1
            log.error("%s; starting it again in %g s (%d of %d)", exited, delay, crashes, len(self._delays))
            await asyncio.sleep(delay)

    async def _run_once(self) -> tuple[ServerExited, bool]:
        """Run the server until it ends; return the error and whether the server was stable."""
        async with server_process(self._command, self._name, self._accepted, self._stop) as server:
            if self._wanted is not self._accepted:
                server.send(self._wanted)  # what it refuses now, it does not refuse to start with
            self._server = server
            try:
                address = await server.ready()
            except ServerExited as exited:
                return exited, False
            if not self.address.done():
                self.address.set_result(address)
            clock = asyncio.get_running_loop().time
            began, following = clock(), asyncio.create_task(server.follow(self._accept))
            try:
                return await server.exited(), clock() - began >= STABLE_AFTER
            finally:
                following.cancel()
                self._server = None
