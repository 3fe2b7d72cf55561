"""The command in a separate process, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys


def tintype(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command and return what it wrote. `variables` are the only TINTYPE_* variables."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TINTYPE_")}
    command = [sys.executable, "-P", "-m", "tintype.cli", *arguments]
    return subprocess.run(command, env=environ | variables, capture_output=True, text=True, timeout=120, check=False)
