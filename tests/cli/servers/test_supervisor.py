"""Servers as children: a crash is followed by a new start, wrong settings and too many crashes by the end."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tintype.cli.servers import supervisor
from tintype.cli.servers.supervisor import ChildEnded, Keeper, Stop
from tintype.service.config import ServiceConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

CONFIG = ServiceConfig(grace=5)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Script:
    """Stands in for the servers: each start does what the next of `acts` says."""

    def __init__(self, *acts: str) -> None:
        self.acts = list(acts)
        self.starts = 0

    @asynccontextmanager
    async def child(self, _: str, name: str, __: Any, stop: Stop) -> AsyncIterator[Any]:
        self.starts += 1
        code = f"import os, sys, time, signal\n{self.acts.pop(0)}"
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
        server = supervisor.Child(name, process)
        try:
            yield server
        finally:
            await server.stop(5, stop)


READY = "print('127.0.0.1:1', flush=True)\n"
CRASH = f"{READY}os.kill(os.getpid(), signal.SIGKILL)"
SERVE = f"{READY}time.sleep(3600)"


async def kept(monkeypatch: pytest.MonkeyPatch, script: Script, *delays: float) -> tuple[Any, ChildEnded]:
    """Keep a server until it is gone; return its first address, if it had one, and its end."""
    monkeypatch.setattr(supervisor, "child", script.child)
    async with Keeper("serve", "service", CONFIG, Stop(), delays=delays) as keeper:
        ended = await asyncio.wait_for(asyncio.shield(keeper.gone), 60)
        return keeper.address.result() if keeper.address.done() else None, ended


async def test_crashes_are_followed_by_new_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is started again once for each delay, which is logged; then it is gone, with an exit code of its own."""
    script = Script(*[CRASH] * 3)
    address, ended = await kept(monkeypatch, script, 0.0, 0.0)
    assert (address, script.starts) == ("127.0.0.1:1", 3)
    assert (ended.exit_code, ended.told) == (3, False)
    assert "the service was ended by signal SIGKILL" in str(ended)
    assert [message[-8:] for message in caplog.messages] == ["(1 of 2)", "(2 of 2)"]


async def test_a_stable_server_has_all_its_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crashes of before count no longer once a server was ready for long enough."""
    monkeypatch.setattr(supervisor, "STABLE", 0.0)
    script = Script(*[CRASH] * 5, f"{READY}sys.exit(2)")
    _, ended = await kept(monkeypatch, script, 0.0)
    assert (script.starts, ended.told) == (6, True)


@pytest.mark.parametrize("act", ["sys.exit(2)", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
async def test_a_server_that_never_was_ready(monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    """What does not come up at all is not tried again: its settings, or this machine, are at fault."""
    script = Script(act)
    address, ended = await kept(monkeypatch, script, 0.0, 0.0)
    assert (address, script.starts) == (None, 1)
    assert ended.told == (act == "sys.exit(2)")


async def test_wrong_settings_after_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2 means that a new start would say the same again."""
    script = Script(CRASH, "sys.exit(2)")
    _, ended = await kept(monkeypatch, script, 0.0, 0.0)
    assert (script.starts, ended.told) == (2, True)


@pytest.mark.parametrize(("number", "got"), [(signal.SIGINT, "INT"), (signal.SIGTERM, "TERM"), (signal.SIGHUP, "TERM")])
async def test_how_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, number: signal.Signals, got: str
) -> None:
    """Ctrl-C leaves the lame duck out in the server, too; SIGTERM and SIGHUP do not."""
    note = f"def note(n, _): open({str(tmp_path / 'got')!r}, 'w').write(signal.Signals(n).name); sys.exit()\n"
    caught = "signal.signal(signal.SIGINT, note); signal.signal(signal.SIGTERM, note)\n"
    monkeypatch.setattr(supervisor, "child", Script(note + caught + SERVE).child)
    stop = Stop()
    async with Keeper("serve", "service", CONFIG, stop) as keeper:
        await asyncio.wait_for(keeper.address, 30)
        stop.more(number)
    assert (tmp_path / "got").read_text() == f"SIG{got}"
