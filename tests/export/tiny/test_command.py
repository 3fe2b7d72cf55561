"""`python -m tintype.export.tiny` without torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_one_line_names_the_extra(tmp_path: Path) -> None:
    """One line names the missing extra."""
    command = [sys.executable, "-P", "-m", "tintype.export.tiny", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "pip install '.[export]'" in done.stderr
