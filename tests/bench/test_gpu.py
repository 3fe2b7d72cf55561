"""The benchmark for GPUs runs on a CPU, so that it does when a GPU is at hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"


@pytest.mark.timeout(600)
def test_it_measures_every_way_that_there_is() -> None:
    """Machine and versions first; then each way of calling, whose answers agree, and whole pictures, by batch."""
    command = [sys.executable, str(SCRIPT), "--provider", "cpu", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("machine ", "device ", "versions ", "provider   cpu"))
    lines = re.findall(r"rows +(\d) +(\w+) .* of run .* apart (\S+)", done.stdout)
    assert [(rows, way) for rows, way, _ in lines] == [(n, way) for n in "12" for way in ("run", "bound", "fixed")]
    assert all(float(apart) < 1e-4 for _, _, apart in lines)
    assert re.findall(r"batch +(\d) .*pictures/s", done.stdout) == ["1", "2"]
    assert "does not work" not in done.stdout
    assert "WARNING" not in done.stdout
