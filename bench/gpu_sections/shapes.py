"""Section 4: the price of another shape: the same calls with the number of rows changing, and with each steady."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from tintype.service.models.runtime.provider_options import DEVICES

from .random_models import random_graph
from .recording import DenoiserInputs
from .ways import captured, exhaustive
from .ways import run as plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .context import Context
    from .turns import Call, Feeds
    from .ways import GraphCall

ROWS = (1, 2, 1, 3)
CYCLES = 8
WARM_UP = 3  # calls of each number of rows: captures are made and checked
GIB = 2**30


def run(context: Context) -> None:
    """Measure the given models, and a random Stable Diffusion 1.5 UNet if the device has memory for it."""
    folder = context.models[0]
    with DenoiserInputs(context.provider, folder) as inputs:
        calls = {rows: inputs.of_call(rows, context.size) for rows in sorted({*ROWS})}
    _measure_ways(context, f"{folder.name}, {context.size}x{context.size}", calls)
    if not context.quick and context.provider != "cpu" and context.free > 8 * GIB:
        graph = random_graph(context, "sd1-unet")
        _measure_ways(context, "sd1-unet, 64x64 cells", {rows: graph.call(rows, 64) for rows in sorted({*ROWS})})


def _measure_ways(context: Context, subject: str, calls: dict[int, GraphCall]) -> None:
    """Measure one way after the other; each is closed before the next opens."""
    first = calls[1]
    made: dict[str, Callable[[], Call]] = {"plain": partial(plain, context.provider, first.source, first.output)}
    if context.provider == "cuda":
        made["exhaustive"] = partial(exhaustive, first.source, first.output)
    if DEVICES.get(context.provider) == "cuda":  # plugins capture one shape for a session
        made["captured"] = partial(captured, context.provider, first)
    for name, make in made.items():
        if context.left() < 0:
            context.add(subject, name, problem="not run: no time was left")
            continue
        try:
            steady, changing = _measure(make(), [calls[rows].feeds for rows in ROWS], context.deadline)
        except Exception as error:  # noqa: BLE001 - the others go on
            context.add(subject, name, problem=" ".join(f"{error}".split())[:500])
        else:
            note = f"rows {', '.join(map(str, ROWS))} in turn; {1000 * steady:.3f} ms steady"
            context.add(subject, name, ms=1000 * changing, change_ms=1000 * (changing - steady), note=note)


def _measure(call: Call, sequence: Sequence[Feeds], deadline: float) -> tuple[float, float]:
    """Return the mean seconds of a call when each shape repeats, and when the shape changes at each call."""
    for feeds in sequence:
        for _ in range(WARM_UP):
            call(feeds)
    blocks = [_median_of(lambda feeds=feeds: call(feeds), deadline) for feeds in sequence]  # type: ignore[misc]
    steady = statistics.fmean(blocks)
    changing = _median_of(lambda: [call(feeds) for feeds in sequence], deadline) / len(sequence)
    return steady, changing


def _median_of(function: Callable[[], object], deadline: float) -> float:
    """Return the median seconds of CYCLES runs after a first one, or of fewer at the deadline."""
    function()
    spent: list[float] = []
    while not spent or (len(spent) < CYCLES and time.perf_counter() < deadline):
        began = time.perf_counter()
        function()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)
