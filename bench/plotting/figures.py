"""The figures: other libraries as ratios to tintype, latency by load, and memory over requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from capacity.plot import Axis

from . import results
from .results import OURS
from .svg import Bar, Curve, Point, bars, curves, document, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .results import Measure

PANEL, GAP = 440, 40
BUILTIN = (results.FIRST_CPU, results.WARM_CPU, results.CALLERS[2], results.RESIDENT, results.ANONYMOUS)
LARGE = (results.FIRST_CPU, results.LOAD, results.FIRST_IMAGE_CPU, results.ANONYMOUS)
SHARES = {"p50": ("50th", "c"), "p95": ("95th", "a"), "p99": ("99th percentile", "b")}


def peers(found: Mapping[str, Any], measures: Sequence[Measure], title: str) -> str:
    """Return the bars of a comparison: each side's ratio to tintype, in four panels."""
    shown = [measure for measure in measures if results.has(measure, found)]
    sides = [side for side in results.measured(found) if side != OURS]
    high = 14 + 24 * len(sides) + 44
    lines = [text("head", 10, 24, title), text("soft", 10, 44, SUBTITLE)]
    for number, measure in enumerate(shown):
        x, y = 10 + (PANEL + GAP // 2) * (number % 2), 84 + high * (number // 2)
        rows = [bar for side in sides if (bar := _bar(found, side, measure))]
        lines += bars(x, y, PANEL, measure.title, rows)
    return document(70 + high * ((len(shown) + 1) // 2), title, lines)


SUBTITLE = "Ratio to tintype, which is the line at 1; logarithmic. Blue: tintype is better. Orange: it loses."


def _bar(found: Mapping[str, Any], side: str, measure: Measure) -> Bar | None:
    spread = results.ratio(found, side, measure)
    if spread is None:
        return None
    return Bar(side, spread, lost=(spread.median > 1) is measure.more_is_better)


def serving(found: Mapping[str, Any]) -> str:
    """Return latency against load, over REST and over gRPC."""
    rows = found["load"]
    seconds = [row[share] for row in rows for share in SHARES]
    ticks = [
        tick for tick in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if min(seconds) / 2 < tick < max(seconds) * 2
    ]
    lines: list[str] = []
    for number, kind in enumerate(("REST", "gRPC")):
        own = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row["fraction"])
        left = 70 + 450 * number
        x = Linear(0.2, 1.25, left, left + 260, [row["fraction"] for row in own])
        y = Axis(min(ticks) / 1.1, max(seconds) * 1.2, 300, 60, ticks)
        lines += curves(x, y, (f"{kind}: latency in seconds", "{}", "{}"), list(map(_latencies(own), SHARES)))
        lines.append(
            text("soft", left + 130, 342, f"load ÷ capacity of {found['capacity'][kind]:.1f} images/s", "middle")
        )
    return document(360, "Latency of tintype up by load, with the built-in model", lines)


def _latencies(rows: Sequence[Mapping[str, Any]]) -> Any:
    def curve(share: str) -> Curve:
        label, colour = SHARES[share]
        return Curve(label, colour, [Point(row["fraction"], row[share]) for row in rows])

    return curve


def memory(found: Mapping[str, Any]) -> str:
    """Return the resident memory over mixed requests, one curve for each run."""
    runs, colours = found["runs"], "abcd"
    peak = max(max(run["memory"]) for run in runs)
    first = min(min(run["memory"]) for run in runs)
    count = found["block"] * len(runs[0]["memory"])
    x = Linear(0, count, 70, 720, range(0, count + 1, count // 5))
    y = Linear(0, peak * 1.15, 270, 60, range(0, int(peak * 1.15), 50))
    lines = [
        Curve(
            f"{run['memory'][-1] / run['memory'][0]:.3f} of the first",
            colours[number % len(colours)],
            [Point(found["block"] * (place + 1), value) for place, value in enumerate(run["memory"])],
        )
        for number, run in enumerate(runs)
    ]
    title = f"Resident memory in MB after mixed requests ({first:.0f} to {peak:.0f})"
    return document(310, title, curves(x, y, (title, "{}", "{}"), lines))


class Linear(Axis):
    """An axis whose values are not logarithmic."""

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
