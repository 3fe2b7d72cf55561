"""Bars and curves as SVG, readable on light and on dark pages, in the style of the other figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from capacity.plot import STYLE, SVG, Axis

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .results import Spread

WIDTH = 920
OWN_STYLE = """
    .name { fill: #24292f; font-size: 13px } .value { fill: #57606a; font-size: 12.5px; font-weight: 600 }
    .more { fill: #2f81c7 } .less { fill: #c2622d } .spread { stroke: #6e7781; stroke-width: 1.5; fill: none }
    .one { stroke: #57606a; stroke-width: 1.5 }
    @media (prefers-color-scheme: dark) {
      .name { fill: #e6edf3 } .value { fill: #9da7b3 } .spread { stroke: #c9d1d9 } .one { stroke: #9da7b3 }
    }
"""
ROW, BAR = 24, 12


class Bar(NamedTuple):
    """A ratio, the name of its row, and whether it is to the disadvantage of ours."""

    name: str
    ratio: Spread
    lost: bool


class Point(NamedTuple):
    """A point of a curve."""

    x: float
    y: float


class Curve(NamedTuple):
    """A line: its label, its class of colour, and its points."""

    label: str
    colour: str
    points: Sequence[Point]


def document(height: int, title: str, lines: Sequence[str]) -> str:
    """Return a whole figure."""
    head = (
        SVG.format(width=WIDTH, height=height),
        f"  <title>{title}</title>",
        f"  <style>{STYLE}{OWN_STYLE}  </style>",
    )
    return "\n".join((*head, *lines, "</svg>", ""))


def text(kind: str, x: float, y: float, content: str, anchor: str = "start") -> str:
    """Return a text."""
    return f'  <text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'


def bars(x: float, y: float, width: float, title: str, rows: Sequence[Bar]) -> list[str]:
    """Return a panel of horizontal bars that begin at 1, on a logarithmic axis."""
    low = min([0.5, *(row.ratio.low for row in rows)])
    high = max([2.0, *(row.ratio.high for row in rows)])
    left = x + 148
    axis = Axis(low / 1.1, high * 1.1, left, x + width - 62, ())
    bottom = y + 14 + ROW * len(rows)
    lines = [text("head", x, y, title), f'  <path class="one" d="M{axis.at(1):.1f} {y + 10}V{bottom}"/>']
    for number, row in enumerate(rows):
        lines += _bar(x, y + 26 + ROW * number, axis, row)
    return lines


def _bar(x: float, y: float, axis: Axis, row: Bar) -> Iterator[str]:
    ends = sorted((axis.at(1), axis.at(row.ratio.median)))
    kind = "less" if row.lost else "more"
    yield text("name", x, y + 4, row.name)
    yield (
        f'  <rect class="{kind}" x="{ends[0]:.1f}" y="{y - BAR / 2}" width="{ends[1] - ends[0]:.1f}" height="{BAR}" '
        f'rx="2"/>'
    )
    low, high = axis.at(row.ratio.low), axis.at(row.ratio.high)
    yield f'  <path class="spread" d="M{low:.1f} {y - 4}v8M{low:.1f} {y}H{high:.1f}M{high:.1f} {y - 4}v8"/>'
    yield text("value", axis.end + 8, y + 4, f"{row.ratio.median:.2f}")


def curves(x: Axis, y: Axis, labels: tuple[str, str, str], lines: Sequence[Curve]) -> list[str]:
    """Return a panel of curves; `labels` are its title and those of its axes' ticks, with {} for the number."""
    title, unit_x, unit_y = labels
    found = [text("head", x.start, y.end - 18, title)]
    for tick in y.ticks:
        at = y.at(tick)
        found.append(f'  <path class="grid" d="M{x.start} {at:.1f}H{x.end}"/>')
        found.append(text("soft", x.start - 8, at + 4, unit_y.format(f"{tick:g}"), "end"))
    found += [text("soft", x.at(tick), y.start + 20, unit_x.format(f"{tick:g}"), "middle") for tick in x.ticks]
    ends = _apart([y.at(line.points[-1].y) for line in lines])
    for line, end in zip(lines, ends, strict=True):
        points = " ".join(f"{x.at(point.x):.1f},{y.at(point.y):.1f}" for point in line.points)
        found.append(f'  <polyline class="line {line.colour}" points="{points}"/>')
        found.append(text(f"label t{line.colour}", x.end + 8, end + 4, line.label))
    return found


def _apart(wanted: Sequence[float]) -> list[float]:
    """Return positions near the wanted ones that are at least a line apart."""
    positions, last = [0.0] * len(wanted), float("-inf")
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        last = positions[index] = max(wanted[index], last + 16)
    return positions
