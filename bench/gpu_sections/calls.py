"""Section 3: a call of the built-in denoiser, or of the given models', in each way, by rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .recording import DenoiserInputs
from .turns import Turns
from .ways import ways

if TYPE_CHECKING:
    from .context import Context

ROWS = (1, 2, 4, 8)


def run(context: Context) -> None:
    """Measure run, bound, graph and fixed in turns."""
    for folder in context.models:
        with DenoiserInputs(context.provider, folder) as inputs:
            calls = {rows: inputs.of_call(rows, context.size) for rows in (ROWS[1:2] if context.quick else ROWS)}
        weights = next(iter(calls.values())).source.weights_bytes
        together = 6 * weights < context.free  # four sessions
        for rows, call in calls.items():
            subject = f"{folder.name}, {context.size}x{context.size}, rows {rows}"
            Turns(context, subject, call.feeds, together=together).compare(ways(context.provider, call))
