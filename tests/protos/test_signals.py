"""Signals that stop a server, and requests to read its settings again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest

from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig
from tintype.v1.settings import restart_note
from tintype.v1.signals import Reloading, lines_from, on_stop_signal

pytestmark = pytest.mark.anyio

SERVER = """
import asyncio, sys
from tintype.v1.signals import on_stop_signal

async def main():
    stopped = asyncio.Event()
    def say(word):
        open(sys.argv[1], "a").write(word + " ")
    def stop(number):
        say(number.name)
        stopped.set()
    with on_stop_signal(stop, lambda: say("reload")):
        say("ready")
        await asyncio.wait_for(stopped.wait(), 30)

asyncio.run(main())
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_sighup_reloads() -> None:
    """SIGHUP calls `reload` if there is one, and otherwise stops the server."""
    calls: asyncio.Queue[str] = asyncio.Queue()
    with on_stop_signal(lambda number: calls.put_nowait(number.name), lambda: calls.put_nowait("reload")):
        signal.raise_signal(signal.SIGHUP)
        assert await asyncio.wait_for(calls.get(), 30) == "reload"
    with on_stop_signal(lambda number: calls.put_nowait(number.name)):
        signal.raise_signal(signal.SIGHUP)
        assert await asyncio.wait_for(calls.get(), 30) == "SIGHUP"


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux' pseudo-terminals")
def test_a_closed_terminal_stops(tmp_path: object) -> None:
    """While its terminal is open, SIGHUP reloads; when the terminal is closed, the server stops."""
    words = f"{tmp_path}/words"
    script = (
        "import os, pty, signal, subprocess, sys, time\n"
        "def said():\n"
        "    return open(sys.argv[2]).read() if os.path.exists(sys.argv[2]) else ''\n"
        "def wait(text):\n"
        "    end = time.monotonic() + 30\n"
        "    while text not in said():\n"
        "        assert time.monotonic() < end, said()\n"
        "        time.sleep(0.01)\n"
        "pid, terminal = pty.fork()\n"
        "if pid == 0:\n"
        "    os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], sys.argv[2]])\n"
        "wait('ready')\n"
        "os.kill(pid, signal.SIGHUP)\n"
        "wait('reload')\n"
        "os.close(terminal)\n"
        "wait('SIGHUP')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, SERVER, words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(words) as said:  # noqa: PTH123  # written by the server
        assert said.read() == "ready reload SIGHUP "


async def test_configurations_are_applied_in_order(caplog: pytest.LogCaptureFixture) -> None:
    """A request before `follow` counts; an error changes nothing and is logged in one line."""

    class UserFault(Exception):
        exit_code = 2

    results: list[int | Exception] = [1, UserFault("line one\nline two"), RuntimeError("a bug"), 2]
    applied: asyncio.Queue[int] = asyncio.Queue()

    def read() -> int:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    async def apply(config: int) -> None:
        applied.put_nowait(config)

    done: list[str] = []
    reloading = Reloading(read, done.append)
    reloading.request()
    task = asyncio.create_task(reloading.follow(apply))
    assert await asyncio.wait_for(applied.get(), 30) == 1
    for _ in range(3):
        before = len(results)
        reloading.request()
        while len(results) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await asyncio.wait_for(applied.get(), 30) == 2
    task.cancel()
    messages = [(record.message, bool(record.exc_info and record.exc_info[0])) for record in caplog.records]
    assert ("the settings are not reloaded: line one line two", False) in messages
    assert ("the settings are not reloaded: a bug", True) in messages
    assert done[:3] == ["", "line one line two", "a bug"]


def test_lines_of_a_pipe() -> None:
    """Only complete lines are read, of any length."""
    reader, writer = os.pipe()
    os.write(writer, b"a\n" + b"b" * 1000 + b"\n\nrest")
    os.close(writer)
    assert list(lines_from(reader)) == [b"a", b"b" * 1000, b""]
    os.close(reader)


@pytest.mark.parametrize("config", [ServiceConfig, GatewayConfig])
def test_reloaded_settings_exist(config: type[ServiceConfig | GatewayConfig]) -> None:
    """Each setting that a running server applies is a setting."""
    assert {item.name for item in fields(config) if "help" in item.metadata} >= config.RELOADED


def test_settings_that_need_a_restart() -> None:
    """They are named by their flags, and stay as they were; the others are taken over."""
    before = ServiceConfig(memory=1, log_level="info")
    after, flags = before.reloaded(ServiceConfig(memory=2, providers=("cpu",), log_level="debug"))
    assert (after.memory, after.providers, after.log_level) == (1, (), "debug")
    assert restart_note(flags) == "; --provider, --memory need a restart"
    assert (restart_note(["--grpc"]), restart_note([])) == ("; --grpc needs a restart", "")
