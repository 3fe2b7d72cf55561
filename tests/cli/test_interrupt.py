"""Ctrl-C while an image is made: the first one ends the command in order, the second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tintype.cli.interrupt import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

STEPS = "150"


def start_command(output: Path) -> subprocess.Popen[bytes]:
    """Start a command that takes long, and wait until it makes images."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    asked = ["generate", "a lake", "--count", "10", "--steps", STEPS, "-o", str(output)]
    command = [sys.executable, "-P", "-u", "-m", "tintype.cli", *asked]
    process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr
    while f"/{STEPS}".encode() not in (stderr := process.stderr.readline()):
        assert stderr, "the command ended early"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_the_command(times: int, tmp_path: Path) -> None:
    """The command ends with exit code 130 after one or two signals, without a traceback or a partial image."""
    with start_command(tmp_path / "x.png") as process:
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130
    assert b"Traceback" not in stderr
    for file in tmp_path.iterdir():  # images that were finished before the signal are kept
        Image.open(file).load()


BLOCKED = """
import asyncio, time
from tintype.cli.interrupt import run

async def work():
    try:
        print("working", flush=True)
        await asyncio.sleep(100)
    finally:
        print("blocked", flush=True)
        time.sleep(100)

run(work())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_second_ctrl_c_ends_cleanup_that_blocks() -> None:
    """Freeing a model that is still being loaded blocks the event loop; the second signal does not wait for it."""
    with subprocess.Popen([sys.executable, "-P", "-c", BLOCKED], stdout=subprocess.PIPE) as process:
        assert process.stdout
        for line in (b"working\n", b"blocked\n"):
            assert process.stdout.readline() == line
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=50) == 130


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ending_tasks_are_not_cancelled() -> None:
    """A task that is about to end is not cancelled: gRPC would print a traceback."""
    ended = []

    async def other() -> None:
        await asyncio.sleep(0.05)
        ended.append("other")

    async def work() -> None:
        task = asyncio.create_task(other())
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(30)
        await task

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert ended == ["other"]
