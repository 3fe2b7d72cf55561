"""The one command, `tintype`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from .errors import guarded
from .parser import run

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, see `guarded`."""
    return guarded(partial(run, sys.argv[1:] if argv is None else argv))
