"""The command line: `tintype`."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from .commands import run
from .errors import run_with_exit_code

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, see `run_with_exit_code`."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # hide notices about calls that end
    return run_with_exit_code(partial(run, sys.argv[1:] if argv is None else argv))
