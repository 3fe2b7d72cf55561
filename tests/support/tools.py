"""Programs that tests run and that no Python package has: the system's, or from Debian's packages (`.ci`)."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.source import ROOT


@cache
def _find(script: str, *arguments: str) -> tuple[str, str]:
    """Return the path of a program as a script of `.ci` prints it, or why it is missing."""
    command = (str(ROOT / ".ci" / script), *arguments)
    found = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    return found.stdout.strip(), found.stderr.strip()


def _require(path: str, problem: str) -> Path:
    """Return the path; skip the test without it, and fail it in CI."""
    if not path:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(problem)
    return Path(path)


def tool(program: str, *packages: str) -> Path:
    """Return the path of a program of Debian packages; skip the test without it, and fail it in CI."""
    return _require(*_find("tools", str(ROOT / "build" / "tools" / packages[0]), program, *packages))


def chromium() -> Path:
    """Return the path of Chromium; skip the test without it, and fail it in CI."""
    return _require(*_find("chromium", str(ROOT / "build" / "tools" / "chromium")))


def promtool() -> Path:
    """Return the path of Prometheus' tool; skip the test without it."""
    return tool("promtool", "prometheus")


def check_metrics(text: bytes) -> str:
    """Return what promtool finds wrong in metrics; skip the test without it."""
    checked = subprocess.run((promtool(), "check", "metrics"), input=text, capture_output=True, timeout=60, check=False)
    return (checked.stdout + checked.stderr).decode() or ("" if not checked.returncode else str(checked.returncode))
