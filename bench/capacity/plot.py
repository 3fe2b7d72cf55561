"""The figure of docs/cluster.md, as an SVG that is readable on light and on dark pages."""

from __future__ import annotations

from math import log10
from typing import TYPE_CHECKING, NamedTuple

from .tables import LANDED, NODES, NODES_PER_GATEWAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .tables import Runner

WIDTH, HEIGHT = 920, 400
LEFT, TOP, BOTTOM, PANEL, GAP = 60, 64, 340, 270, 190
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
    'font-family="system-ui, sans-serif" font-size="14">'
)
STYLE = """
    .soft { fill: #57606a; font-size: 12.5px }
    .head { fill: #24292f; font-weight: 600; font-size: 15px }
    .grid { stroke: #d0d7de; stroke-width: 1 } .line { fill: none; stroke-width: 2.2 }
    .a { stroke: #2f81c7 } .b { stroke: #c2622d } .c { stroke: #3f8f5b } .d { stroke: #8250df } .e { stroke: #8c959f }
    .ta { fill: #2f81c7 } .tb { fill: #c2622d } .tc { fill: #3f8f5b } .td { fill: #8250df } .te { fill: #6e7781 }
    .label { font-size: 12.5px; font-weight: 600 }
    @media (prefers-color-scheme: dark) {
      .head { fill: #e6edf3 } .soft { fill: #9da7b3 } .grid { stroke: #30363d }
      .td { fill: #a371f7 } .d { stroke: #a371f7 } .te { fill: #9da7b3 }
    }
"""


class Curve(NamedTuple):
    """A line of a panel: its label, its class of colour, and its values by number of nodes."""

    label: str
    colour: str
    values: Mapping[int, float]


class Axis(NamedTuple):
    """A logarithmic axis from `low` to `high`, at pixels `start` to `end`, with ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[float]

    def at(self, value: float) -> float:
        """Return the pixel of a value; values outside are at the edge."""
        share = (log10(min(max(value, self.low), self.high)) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return self.start + share * (self.end - self.start)


def write_plot(runner: Runner, path: Path) -> None:
    """Simulate all points of the figure, and write it."""
    labels = {"round robin": "round robin", "fewest in flight": "fewest in flight", LANDED: "the gateway's rule"}
    left = [
        Curve(label, colour, {nodes: runner.run(nodes=nodes, rule=rule).p95 for nodes in NODES})
        for colour, (rule, label) in zip("bca", labels.items(), strict=True)
    ]
    costs = {
        label: {nodes: runner.run(nodes=nodes, rule=LANDED, **changes).node_seconds_per_image for nodes in NODES}
        for label, changes in (("one gateway", {"gateways": 1}), (f"1 per {NODES_PER_GATEWAY} nodes", {}))
    }
    right = [Curve(label, colour, values) for colour, (label, values) in zip("da", costs.items(), strict=True)]
    path.write_text(draw(left, right), "utf-8")


def draw(left: Sequence[Curve], right: Sequence[Curve]) -> str:
    """Return the figure: waiting on the left, and cost on the right, by number of nodes."""
    seconds = Axis(0.1, 10, BOTTOM, TOP, (0.1, 1, 10))
    cost = Axis(0.1, 10, BOTTOM, TOP, (0.1, 1, 10))
    return "\n".join(
        (
            SVG.format(width=WIDTH, height=HEIGHT),
            "  <title>Waiting and cost per image by number of nodes, simulated</title>",
            f"  <style>{STYLE}  </style>",
            *_panel(LEFT, "Wait, 95th percentile, in seconds", seconds, left),
            *_panel(LEFT + PANEL + GAP, "Node-seconds per image", cost, right),
            "</svg>",
            "",
        )
    )


def _panel(x: float, title: str, axis: Axis, curves: Sequence[Curve]) -> list[str]:
    nodes = Axis(NODES[0], NODES[-1], x, x + PANEL, (1, 10, 100, 1000))
    lines = [f'  <text class="head" x="{x}" y="36">{title}</text>']
    for tick in axis.ticks:
        y = axis.at(tick)
        lines.append(f'  <path class="grid" d="M{x} {y:.1f}H{x + PANEL}"/>')
        lines.append(f'  <text class="soft" x="{x - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    lines += [
        f'  <text class="soft" x="{nodes.at(tick):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{tick:g}</text>'
        for tick in nodes.ticks
    ]
    lines.append(f'  <text class="soft" x="{x + PANEL / 2}" y="{BOTTOM + 42}" text-anchor="middle">nodes</text>')
    for curve, y in zip(curves, _label_positions([axis.at(curve.values[NODES[-1]]) for curve in curves]), strict=True):
        points = " ".join(f"{nodes.at(n):.1f},{axis.at(value):.1f}" for n, value in curve.values.items())
        lines.append(f'  <polyline class="line {curve.colour}" points="{points}"/>')
        lines.append(f'  <text class="label t{curve.colour}" x="{x + PANEL + 8}" y="{y + 4:.1f}">{curve.label}</text>')
    return lines


def _label_positions(wanted: Sequence[float]) -> list[float]:
    """Return positions near the wanted ones that are at least a line apart."""
    positions = [0.0] * len(wanted)
    last = float("-inf")
    for index in sorted(range(len(wanted)), key=lambda index: wanted[index]):
        last = positions[index] = max(wanted[index], last + 17)
    return positions
