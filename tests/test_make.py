"""What the Makefile does with the command that it starts."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
COMMAND = """#!/bin/sh
trap 'echo stopped > said; exit 0' TERM
echo begun > said
while :; do sleep 0.05; done
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment is made, with a command that says how it ends."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv/served").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = tmp_path / ".venv/bin/tintype"
    command.write_text(COMMAND)
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_who_ends_make_ends_the_servers(checkout: Path) -> None:
    """A signal to `make up` reaches the command, which would else go on and keep the ports."""
    make = subprocess.Popen(["make", "up"], cwd=checkout, start_new_session=True)
    try:
        _wait(checkout / "said", "begun")
        make.send_signal(signal.SIGTERM)
        _wait(checkout / "said", "stopped")
    finally:
        os.killpg(make.pid, signal.SIGKILL)
        make.wait()


def _wait(file: Path, word: str) -> None:
    end = time.monotonic() + 20
    while not (file.is_file() and file.read_text().strip() == word):
        assert time.monotonic() < end, f"not {word}"
        time.sleep(0.02)
