"""The benchmark for devices measures each way of calling on the device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tintype.service.models.runtime.provider_options import capture_options

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.py"


@pytest.mark.timeout(600)
def test_each_way_of_calling_has_the_same_results(provider: str, tmp_path: Path) -> None:
    """Calls with buffers on the device, captured and with fixed axes give what a plain run gives."""
    results = tmp_path / "results.jsonl"
    command = [sys.executable, str(SCRIPT), "--provider", provider, "--quick", "--sections", "calls"]
    command += ["--json", str(results), "--budget", "500"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    ways = {each["way"]: each for each in records}
    assert ways.keys() >= ({"run", "bound", "graph", "fixed"} if capture_options(provider) else {"run"})
    assert [way for way, each in ways.items() if "problem" in each] == []
    assert all(each["difference"] < 1e-4 for each in ways.values())
