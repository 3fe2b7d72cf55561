"""Supervised servers: a crash leads to a restart; wrong settings or too many crashes end the command."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tintype.cli.servers import supervisor
from tintype.cli.servers.supervisor import ServerExited, StopRequest, Supervisor
from tintype.service.config import ServiceConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = ServiceConfig(grace=5)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ScriptedServers:
    """A stand-in for the servers: each start runs the next of `acts`."""

    def __init__(self, *acts: str) -> None:
        self.acts = list(acts)
        self.starts = 0
        self.configs: list[Any] = []  # one for each start

    @asynccontextmanager
    async def process(self, _: str, name: str, config: Any, stop: StopRequest) -> AsyncIterator[Any]:
        self.starts += 1
        self.configs.append(config)
        code = f"import os, sys, time, signal\n{self.acts.pop(0)}"
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe, stdout=pipe)
        server = supervisor.ServerProcess(name, process)
        server.send(config)
        try:
            yield server
        finally:
            await server.stop(5, stop)


READY = "print('127.0.0.1:1', flush=True)\n"
CRASH = f"{READY}os.kill(os.getpid(), signal.SIGKILL)"
SERVE = f"{READY}time.sleep(3600)"


async def supervise(
    monkeypatch: pytest.MonkeyPatch, script: ScriptedServers, *delays: float
) -> tuple[Any, ServerExited]:
    """Supervise a server until it is not restarted; return its first address, if any, and the error."""
    monkeypatch.setattr(supervisor, "server_process", script.process)
    async with Supervisor("serve", "service", CONFIG, StopRequest(), delays=delays) as server:
        exited = await asyncio.wait_for(asyncio.shield(server.finished), 60)
        return server.address.result() if server.address.done() else None, exited


async def test_crashed_server_is_restarted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The server is restarted once for each delay, with a log line; then the command fails with exit code 3."""
    script = ScriptedServers(*[CRASH] * 3)
    address, exited = await supervise(monkeypatch, script, 0.0, 0.0)
    assert (address, script.starts) == ("127.0.0.1:1", 3)
    assert (exited.exit_code, exited.reported) == (3, False)
    assert "the service was ended by signal SIGKILL" in str(exited)
    assert [message[-8:] for message in caplog.messages] == ["(1 of 2)", "(2 of 2)"]


ACCEPT = "sys.stdin.readline(), sys.stdin.readline()\nprint(1, flush=True)\n"  # the start, and the first change
REFUSE = "sys.stdin.readline()\n"  # the next one


async def test_a_refused_configuration_does_not_outlive_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server starts again with the last configuration that it accepted, and gets the refused one as a change."""
    accepted, refused = ServiceConfig(grace=6), ServiceConfig(grace=7)
    again = "lines = [sys.stdin.readline() for _ in range(2)]\nsys.exit(5 if '\"grace\": 7' in lines[1] else 1)"
    script = ScriptedServers(f"{READY}{ACCEPT}{REFUSE}os.kill(os.getpid(), signal.SIGKILL)", READY + again)
    monkeypatch.setattr(supervisor, "server_process", script.process)
    async with Supervisor("serve", "service", CONFIG, StopRequest(), delays=[0.0]) as server:
        await asyncio.wait_for(asyncio.shield(server.address), 60)
        server.update(accepted)
        while server._accepted is not accepted:  # noqa: ASYNC110 - the server reports it
            await asyncio.sleep(0.01)
        server.update(refused)
        exited = await asyncio.wait_for(asyncio.shield(server.finished), 60)
    assert script.configs == [CONFIG, accepted]
    assert "exit code 5" in str(exited)


async def test_newer_settings_are_tried_when_the_accepted_ones_no_longer_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crashed server that can't start with its settings starts with those that it was given last."""
    newer = ServiceConfig(grace=6)
    crash = f"{READY}sys.stdin.readline(), sys.stdin.readline()\nos.kill(os.getpid(), signal.SIGKILL)"
    script = ScriptedServers(crash, "sys.exit(2)", "sys.exit(2)")
    monkeypatch.setattr(supervisor, "server_process", script.process)
    async with Supervisor("serve", "service", CONFIG, StopRequest(), delays=[0.0]) as server:
        await asyncio.wait_for(asyncio.shield(server.address), 60)
        server.update(newer)
        exited = await asyncio.wait_for(asyncio.shield(server.finished), 60)
    assert script.configs == [CONFIG, CONFIG, newer]
    assert exited.reported


async def test_stable_server_has_all_restarts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier crashes no longer count once a server was ready for long enough."""
    monkeypatch.setattr(supervisor, "STABLE_AFTER", 0.0)
    script = ScriptedServers(*[CRASH] * 5, f"{READY}sys.exit(2)")
    _, exited = await supervise(monkeypatch, script, 0.0)
    assert (script.starts, exited.reported) == (6, True)


@pytest.mark.parametrize("act", ["sys.exit(2)", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_server_that_never_was_ready_is_not_restarted(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """A server that never became ready is not restarted: its settings or this machine are at fault."""
    script = ScriptedServers(act)
    address, exited = await supervise(monkeypatch, script, 0.0, 0.0)
    assert (address, script.starts) == (None, 1)
    assert exited.reported == (act == "sys.exit(2)")


async def test_exit_code_2_is_not_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends with exit code 2 is not restarted: it would end in the same way."""
    script = ScriptedServers(CRASH, "sys.exit(2)")
    _, exited = await supervise(monkeypatch, script, 0.0, 0.0)
    assert (script.starts, exited.reported) == (2, True)


@pytest.mark.parametrize(("number", "got"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM"), (signal.SIGHUP, "TERM")])
async def test_only_sigint_skips_the_lame_duck_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, number: signal.Signals, got: str
) -> None:
    """Ctrl-C skips the lame-duck time in the server as well; SIGTERM and SIGHUP do not."""
    note = f"def note(n, _): open({str(tmp_path / 'got')!r}, 'w').write(signal.Signals(n).name); sys.exit()\n"
    caught = "signal.signal(signal.SIGINT, note); signal.signal(signal.SIGTERM, note)\n"
    monkeypatch.setattr(supervisor, "server_process", ScriptedServers(note + caught + SERVE).process)
    stop = StopRequest()
    async with Supervisor("serve", "service", CONFIG, stop) as server:
        await asyncio.wait_for(server.address, 30)
        stop.add(number)
    assert (tmp_path / "got").read_text() == f"SIG{got}"
