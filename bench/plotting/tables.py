"""The tables of docs/benchmarks.md, made of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import results
from .results import MEASURES, OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MISSING = "not measured"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" if line[0] != "---" else "|---" * len(head) + "|" for line in lines)


def number(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def with_range(spread: results.Spread | None, digits: int = 2) -> str:
    """Return a ratio with its range."""
    if spread is None:
        return MISSING
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def peers(found: Mapping[str, Any]) -> str:
    """Return the medians of each side, and in brackets its ratio to tintype."""
    sides = results.measured(found)
    head = ["", *(f"{side}" for side in sides)]
    rows = []
    for measure in (each for each in MEASURES if results.has(each, found)):
        cells = []
        for side, runs in sides.items():
            median = results.Spread.of([measure.value(run) for run in runs]).median
            spread = results.ratio(found, side, measure)
            cells.append(number(median) + (f" ({spread.median:.2f})" if spread and side != OURS else ""))
        rows.append([measure.title, *cells])
    gaps = {side: f"{values[0]:.0f}; {values[1]:.2f}" for side, values in found["differences"].items()}
    rows.append(["difference of the image, of 255: largest; mean", *(gaps.get(side, "0; 0") for side in sides)])
    return table(head, rows)


def serving(found: Mapping[str, Any]) -> str:
    """Return throughput, refusals and latencies by load."""
    rows = []
    for row in found["load"]:
        latencies = [f"{row[share]:.2f}" for share in ("p50", "p95", "p99")]
        figures = [f"{row['throughput']:.1f}", str(row["requests"]), str(row["refused"])]
        rows.append([row["kind"], f"{row['fraction']}", *figures, *latencies])
    head = ("interface", "load ÷ capacity", "images/s", "requests", "refused", "p50, s", "p95, s", "p99, s")
    return table(head, rows)


def cancelling(found: Mapping[str, Any]) -> str:
    """Return how long cancelled requests stay."""
    titles = {
        "gone": "disconnect until the request has left the device",
        "beside": "of it at most: one look at the metrics",
        "next": "a short request sent at the disconnect",
        "idle": "the same on an idle service",
    }
    rows = [
        [title, *(f"{1000 * found['cancel'][name][share]:.0f}" for share in ("p50", "p95"))]
        for name, title in titles.items()
    ]
    return table(("", "p50, ms", "p95, ms"), rows)


def gateways(found: Mapping[str, Any]) -> str:
    """Return rate, latency, CPU time and memory of both gateways."""
    base = {row["bytes"]: row for row in found["gateways"] if row["gateway"] == "upstream"}
    rows = []
    for row in (row for row in found["gateways"] if row["gateway"] != "upstream"):
        added = [f"{1000 * (row[share] - base[row['bytes']][share]):.2f}" for share in ("p50", "p99")]
        figures = [
            f"{row['rate']:,.0f}",
            *added,
            f"{1000 * row['cpu']:.2f}",
            f"{row['memory']:.0f}",
            f"{row['start']:.1f}",
        ]
        rows.append([row["gateway"], f"{row['bytes']:,}", *figures])
    head = ["gateway", "bytes of an image", "requests/s", "added p50, ms", "added p99, ms"]
    return table([*head, "CPU per request, ms", "memory, MB", "start, s"], rows)
