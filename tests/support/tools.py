"""Programs that tests run and that no Python package has: the system's, or from Debian's packages (`.ci/tools`)."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.source import ROOT


@cache
def _find(program: str, package: str) -> tuple[str, str]:
    """Return the path of a program, or why it is missing."""
    found = subprocess.run(
        (ROOT / ".ci" / "tools", ROOT / "build" / "tools" / package, program, package),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return found.stdout.strip(), found.stderr.strip()


def tool(program: str, package: str) -> Path:
    """Return the path of a program of a Debian package; skip the test without it, and fail it in CI."""
    path, problem = _find(program, package)
    if not path:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(problem)
    return Path(path)


def promtool() -> Path:
    """Return the path of Prometheus' tool; skip the test without it."""
    return tool("promtool", "prometheus")


def check_metrics(text: bytes) -> str:
    """Return what promtool finds wrong in metrics; skip the test without it."""
    checked = subprocess.run((promtool(), "check", "metrics"), input=text, capture_output=True, timeout=60, check=False)
    return (checked.stdout + checked.stderr).decode() or ("" if not checked.returncode else str(checked.returncode))
