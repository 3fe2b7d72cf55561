"""One file for each vendor's JSON, and the table of them."""

from __future__ import annotations

from . import openai
from .dialect import Call, Dialect, Failure

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (openai.DIALECT,)}

# Speaks on paths that belong to no dialect: its error shape is what most clients read.
DEFAULT = DIALECTS["openai"]

__all__ = ["DEFAULT", "DIALECTS", "Call", "Dialect", "Failure"]
