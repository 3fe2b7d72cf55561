"""The tables that `bench/simulate.py` prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .balancing import RULES
from .results import Summary
from .simulation import Setup, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from .profiles import Profile

LANDED = "gateway"  # the gateway's own rule
LEAST_IMAGES, MOST_IMAGES = 1500, 40_000  # in one run
NODES = (1, 3, 10, 30, 100, 300, 1000)
NODES_PER_GATEWAY = 50
SPREAD_FROM = 1000  # nodes from which models are in memory by popularity at first: a run is too short to get there
WORKLOAD: dict[str, Any] = {"models": 10, "capacity": 3, "load": 0.8}
HEAD = ("wait p50", "p95", "p99", "utilisation", "gateway busy", "loads per image", "node s per image", "refused")


PLOTTED = ("round robin", "fewest in flight", LANDED, "least expected wait")


class Runner:
    """Runs setups with `images` per node. Results are kept in the file `kept`, and are read from it the next time."""

    def __init__(self, profile: Profile, images: int, kept: Path | None = None) -> None:
        self.profile, self.images = profile, images
        self._kept = kept
        lines = kept.read_text("utf-8").splitlines() if kept and kept.exists() else []
        self._results = {key: Summary(*values) for key, values in map(json.loads, lines)}

    def run(self, **changes: Any) -> Summary:
        """Return the figures of one setup."""
        values = WORKLOAD | changes
        nodes = values.get("nodes", 1)
        values.setdefault("spread", nodes >= SPREAD_FROM)
        values.setdefault("gateways", -(-nodes // NODES_PER_GATEWAY))
        values.setdefault("images", min(max(LEAST_IMAGES, self.images * nodes), MOST_IMAGES))
        setup = Setup(profile=self.profile, **values)
        key = repr(setup)
        if key not in self._results:
            self._results[key] = simulate(setup).summary()
            if self._kept:
                with self._kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, self._results[key]]) + "\n")
        return self._results[key]


def row(result: Summary) -> list[str]:
    """Return the cells of a result."""
    waits = [f"{seconds:.3g}" for seconds in result[:3]]
    shares = [f"{share:.2f}" for share in (result.utilisation, result.gateway_utilisation, result.loads_per_image)]
    return [*waits, *shares, f"{result.node_seconds_per_image:.3g}", f"{result.refused:.1%}"]


def print_table(title: str, first: Sequence[str], rows: Iterable[tuple[Sequence[object], Summary]]) -> None:
    """Print results as a Markdown table."""
    print(f"\n### {title}\n| {' | '.join((*first, *HEAD))} |\n|{'---|' * (len(first) + len(HEAD))}")
    for names, result in rows:
        print(f"| {' | '.join((*map(str, names), *row(result)))} |", flush=True)


def print_rules(runner: Runner) -> None:
    """Print every rule for some numbers of nodes."""
    rows = (((nodes, rule), runner.run(nodes=nodes, rule=rule)) for nodes in (3, 10, 30, 100) for rule in RULES)
    print_table("Balancing rules", ("nodes", "rule"), rows)


def print_nodes(runner: Runner) -> None:
    """Print the gateway's rule for every number of nodes, with one gateway and with enough of them."""
    rows = (
        ((nodes, gateways, rule), runner.run(nodes=nodes, gateways=gateways, rule=rule))
        for nodes in NODES
        for gateways in sorted({1, -(-nodes // NODES_PER_GATEWAY)})
        for rule in (PLOTTED if gateways > 1 or nodes <= NODES_PER_GATEWAY else (LANDED,))
    )
    print_table("Nodes", ("nodes", "gateways", "rule"), rows)


def print_gateways(runner: Runner) -> None:
    """Print what the number of gateways does."""
    rows = (
        ((nodes, gateways, rule), runner.run(nodes=nodes, gateways=gateways, rule=rule))
        for nodes in (10, 100)
        for gateways in (1, 2, 4, 16)
        for rule in PLOTTED
    )
    print_table("Gateways", ("nodes", "gateways", "rule"), rows)


def print_refresh(runner: Runner) -> None:
    """Print what stale knowledge of loaded models does."""
    rows = (
        ((seconds, rule), runner.run(nodes=30, gateways=4, refresh=seconds, rule=rule))
        for seconds in (0.5, 5, 30, 120)
        for rule in (LANDED, "least expected wait")
    )
    print_table("Seconds between looks at loaded models, 30 nodes, 4 gateways", ("refresh, s", "rule"), rows)


def print_memory(runner: Runner) -> None:
    """Print what the memory of a node does."""
    rows = (
        ((models, capacity, rule), runner.run(nodes=30, models=models, capacity=capacity, rule=rule))
        for models, capacity in ((1, 1), (10, 1), (10, 3), (10, 10), (50, 3))
        for rule in ("fewest in flight", LANDED, "least expected wait")
    )
    print_table("Models and memory, 30 nodes", ("models", "fit", "rule"), rows)


def print_load(runner: Runner) -> None:
    """Print waiting by load, and in bursts."""
    rows = (
        ((load, name, rule), runner.run(nodes=30, load=load, burst=burst, rule=rule))
        for load in (0.5, 0.7, 0.8, 0.9, 0.95)
        for name, burst in (("Poisson", 0.0), ("bursts", 30.0))
        for rule in ("fewest in flight", LANDED)
    )
    print_table("Load and bursts, 30 nodes", ("load", "arrivals", "rule"), rows)


def print_check(profile: Profile, images: int, rule: str) -> None:
    """Print real and simulated waiting and latencies of two services."""
    from .reality import compare  # noqa: PLC0415 - starts processes

    for load in (0.5, 0.8):
        found = compare(profile, Setup(profile=profile, nodes=2, rule=rule, load=load, images=images, callers=1))
        print(f"\nLoad {load}, {rule}: utilisation {found.utilisation:.2f}")
        print("| | real, s | simulated, s | simulated ÷ real |\n|---|---|---|---|")
        for name, real, ours in found.rows():
            print(f"| {name} | {real:.3f} | {ours:.3f} | {ours / real:.2f} |", flush=True)


TABLES: Mapping[str, Callable[[Runner], None]] = {
    "nodes": print_nodes,
    "rules": print_rules,
    "gateways": print_gateways,
    "refresh": print_refresh,
    "memory": print_memory,
    "load": print_load,
}
"""Tables by name."""
