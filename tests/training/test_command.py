"""The command `python -m tintype.training`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tintype.training import __main__ as command


def test_steps_read_their_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step gets the options of the command line, and the work folder exists."""
    calls: list[command.Options] = []
    monkeypatch.setitem(command.STEPS, "refine", calls.append)
    command.main(["refine", "--work", str(tmp_path / "work"), "--images", "7", "--device", "cuda"])
    assert [(call.images, call.kept, call.device, call.data) for call in calls] == [
        (7, 9_000, "cuda", tmp_path / "work" / "data")
    ]
    assert (tmp_path / "work").is_dir()


def test_former_names_still_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`forgive` is `refine`, and `--pictures` is `--images`."""
    calls: list[command.Options] = []
    monkeypatch.setitem(command.STEPS, "refine", calls.append)
    command.main(["forgive", "--work", str(tmp_path), "--pictures", "7"])
    assert [call.images for call in calls] == [7]


@pytest.mark.slow
def test_help_needs_no_torch() -> None:
    """`--help` lists the steps without importing torch."""
    code = "import sys; sys.modules['torch'] = None\nfrom tintype.training.__main__ import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "train the tokenizer" in done.stdout.lower()
    assert "--pictures" not in done.stdout
    assert "forgive" not in done.stdout
