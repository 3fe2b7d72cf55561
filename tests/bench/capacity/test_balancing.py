"""Balancing rules on what a gateway knows."""

from __future__ import annotations

import random

import pytest
from capacity.balancing import BOUND, NO_NODE, RAY_MATCHING, RAY_ONGOING, RULES, NodeView, View

NODES = 6


def view(in_flight: list[int] | None = None, models: dict[int, str] | None = None) -> View:
    """Return a view of nodes with these requests in flight and models in memory."""
    counts = in_flight or [0] * NODES
    nodes = [NodeView(index, count) for index, count in enumerate(counts)]
    draw = random.Random(0)  # noqa: S311 - a simulation
    made = View(draw, nodes, load=2.0, image=1.0, lengths=lambda node: nodes[node].in_flight)
    made.look([(frozenset((models or {}).get(index, "")), frozenset()) for index in range(len(counts))])
    return made


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_spreads_or_sticks(rule: str) -> None:
    """Every rule names a node; with many requests of many models each node gets some."""
    made = view()
    chosen = set()
    for number in range(300):
        node = RULES[rule](made, f"m{number % 60}")
        made.sent(f"m{number % 60}", node)
        made.answered(f"m{number % 60}", node)
        chosen.add(node)
    assert chosen == set(range(NODES))


@pytest.mark.parametrize("rule", ["fewest in flight", "fewest where loaded", "gateway", "least expected wait"])
def test_the_fewest_in_flight_is_chosen(rule: str) -> None:
    """Of nodes that all have the model, or all lack it, the one with the fewest requests gets the next."""
    assert RULES[rule](view([3, 1, 2, 3, 2, 4]), "a") == 1
    assert RULES[rule](view([3, 1, 2, 3, 2, 4], dict.fromkeys(range(NODES), "a")), "a") == 1


def test_loaded_models_attract() -> None:
    """Rules that know where a model is send its requests there, as long as that waits less than loading."""
    made = view([2, 0, 0, 0, 0, 0], {0: "a"})
    assert RULES["fewest in flight"](made, "a") != 0
    assert [RULES[rule](made, "a") for rule in ("fewest where loaded", "gateway", "least expected wait")] == [0, 0, 0]
    busy = view([8, 0, 0, 0, 0, 0], {0: "a"})
    assert RULES["fewest where loaded"](busy, "a") == 0
    assert RULES["gateway"](busy, "a") != 0
    assert RULES["least expected wait"](busy, "a") != 0


def test_a_request_brings_its_model() -> None:
    """Where a request was sent its model counts as loaded, until a look finds it gone after the answer."""
    made = view()
    made.sent("a", 4)
    assert made.loaded("a") == [4]
    made.look([(frozenset(), frozenset())] * NODES)
    assert made.loaded("a") == [4]
    made.answered("a", 4)
    made.look([(frozenset(), frozenset())] * NODES)
    assert made.loaded("a") == []


def test_hashing_sticks_within_its_bound() -> None:
    """A model has one node; with bounded hashing no node gets much more than the mean."""
    made = view()
    assert len({RULES["hash"](made, "a") for _ in range(10)}) == 1
    for _ in range(30):
        made.sent("a", RULES["hash, bounded"](made, "a"))
    assert max(made.in_flight) <= BOUND * 30 / NODES + 1


def test_ray_waits_for_a_match() -> None:
    """While replicas with the model are full a request waits; after some seconds it goes to another."""
    made = view([RAY_ONGOING, 0, 0, 0, 0, 0], {0: "a"})
    assert RULES["Ray, multiplexed"](made, "a") == NO_NODE
    made.waited = RAY_MATCHING
    assert RULES["Ray, multiplexed"](made, "a") > 0
