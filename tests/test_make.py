"""The command that `make up` starts."""

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
    """A checkout with an environment, and a command that writes how it ends."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / ".venv/served").touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = tmp_path / ".venv/bin/tintype"
    command.write_text(COMMAND)
    command.chmod(0o755)
    return tmp_path


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_signal_to_make_ends_the_servers(checkout: Path) -> None:
    """A signal to `make up` reaches the command; otherwise it would keep running and hold its ports."""
    make = subprocess.Popen(["make", "up"], cwd=checkout, start_new_session=True)
    try:
        _wait(checkout / "said", "begun")
        make.send_signal(signal.SIGTERM)
        _wait(checkout / "said", "stopped")
    finally:
        os.killpg(make.pid, signal.SIGKILL)
        make.wait()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("variables", "file"),
    [([], "outputs/first-image.png"), (["FIRST_IMAGE=a/b.png"], "a/b.png"), (["PICTURE=a/b.png"], "a/b.png")],
)
def test_file_of_the_first_image(checkout: Path, variables: list[str], file: str) -> None:
    """FIRST_IMAGE names the file of the first image, and so does PICTURE, its former name."""
    done = subprocess.run(["make", "-n", "up", *variables], cwd=checkout, capture_output=True, text=True, check=True)
    assert f'--first-image "A serene mountain lake at sunset" --output {file}' in done.stdout
    assert f"mkdir -p {Path(file).parent}/" in done.stdout


def _wait(file: Path, word: str) -> None:
    end = time.monotonic() + 20
    while not (file.is_file() and file.read_text().strip() == word):
        assert time.monotonic() < end, f"not {word}"
        time.sleep(0.02)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_model_of_make_up(checkout: Path) -> None:
    """MODEL is passed to the command if it is on the command line of make; a variable of the environment is not."""
    command = ["make", "-n", "up"]
    named = subprocess.run([*command, "MODEL=a/b c"], cwd=checkout, capture_output=True, text=True, check=True)
    assert '--model "a/b c"' in named.stdout
    environ = os.environ | {"MODEL": "a/b"}
    plain = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True, check=True)
    assert "--model" not in plain.stdout
