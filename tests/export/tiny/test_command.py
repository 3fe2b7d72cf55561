"""`python -m tintype.export.tiny` without torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tintype.export.tiny.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_one_line_names_the_extra(tmp_path: Path) -> None:
    """One line names the missing extra."""
    command = [sys.executable, "-P", "-m", "tintype.export.tiny", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install '.[export]'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [(["--help"], 0, "usage: python -m tintype.export.tiny [-h] FOLDER"), (["--out"], 2, "FOLDER"), ([""], 2, "empty")],
)
def test_flag_is_not_a_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    shown: str,
) -> None:
    """`--help` shows the help, and an unknown flag or an empty name is an error; nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    output = capsys.readouterr()
    assert caught.value.code == code
    assert shown in output.out + output.err
    assert list(tmp_path.iterdir()) == []
