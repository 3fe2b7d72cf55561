"""The benchmark for GPUs also runs on a CPU."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"


@pytest.mark.timeout(600)
def test_it_measures_every_available_way() -> None:
    """The output has machine and versions, then each way of calling with equal results, then whole images by batch."""
    command = [sys.executable, str(SCRIPT), "--provider", "cpu", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("machine ", "device ", "versions ", "provider   cpu"))
    lines = re.findall(r"rows +(\d) +(\w+) .* of run .* difference (\S+)", done.stdout)
    assert [(rows, way) for rows, way, _ in lines] == [(n, way) for n in "12" for way in ("run", "bound", "fixed")]
    assert all(float(difference) < 1e-4 for _, _, difference in lines)
    assert re.findall(r"batch +(\d) .*images/s", done.stdout) == ["1", "2"]
    assert "does not work" not in done.stdout
    assert "WARNING" not in done.stdout
