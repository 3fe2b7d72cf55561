"""`tintype export`: hands over to the part of the house that has torch, and that says what is missing for it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(argv: Sequence[str]) -> int:
    """Export as `argv` says, and return the exit code."""
    return int(import_module("tintype.export").main(list(argv)))
