"""`tintype export`: hands over to the part of the house that has torch, or says how to get it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

# What comes with the extra `export` alone.
EXTRA = {"torch", "diffusers", "transformers", "optimum", "onnx"}


def run(argv: Sequence[str]) -> int:
    """Export as `argv` says. Raises UserError where the packages it needs are not installed."""
    try:
        return int(import_module("tintype.export").main(list(argv)))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        raise UserError(f"export needs {error.name}, which is not here: pip install 'tintype[export]'") from error
