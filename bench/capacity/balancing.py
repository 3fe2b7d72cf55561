"""Balancing rules: the node to which a gateway sends a request, by what that gateway knows."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from tintype.gateway.upstream import placement

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

BOUND = 1.25  # of the mean number of requests in flight, above which consistent hashing goes on to the next node
RAY_ONGOING = 8  # requests that a replica of `tintype cluster` takes at once if it serves several models
RAY_MATCHING = 1.5  # mean seconds for which Ray Serve waits for a replica with the model
NO_NODE = -1  # no node takes the request now


@dataclass(slots=True)
class NodeView:
    """What one gateway knows of a node, as `placement.Candidate`.

    `resident` and `loading` are its models at the last look, `running` the gateway's own requests by model. `expected`
    are the models that it had, or got by a request since.
    """

    index: int
    in_flight: int = 0
    last_use: float = 0
    resident: frozenset[str] = frozenset()
    loading: frozenset[str] = frozenset()
    expected: set[str] = field(default_factory=set)
    running: Counter[str] = field(default_factory=Counter)

    def lists(self, _: str, /) -> bool:
        """Return True: every node has every model on its disk."""
        return True

    def has_loaded(self, model: str) -> bool:
        """Whether the model was in its memory."""
        return model in self.resident

    def is_loading(self, model: str) -> bool:
        """Whether the model was on its way into memory, or one of the gateway's own requests for it runs."""
        return model in self.loading or bool(self.running[model])


@dataclass(slots=True)
class View:
    """What one gateway knows. `load` and `image` are the seconds of loading a model and of an image.

    `lengths` are the true queue lengths of all nodes, for rules that ask the nodes; `waited` is how long the request
    has waited for a node.
    """

    draw: random.Random
    nodes: list[NodeView]
    load: float
    image: float
    lengths: Callable[[int], int]
    turn: int = 0
    waited: float = 0.0
    nodes_of: dict[str, set[int]] = field(default_factory=dict)

    @property
    def in_flight(self) -> list[int]:
        """The gateway's requests in flight by node."""
        return [node.in_flight for node in self.nodes]

    def look(self, models: Sequence[tuple[frozenset[str], frozenset[str]]]) -> None:
        """Learn which models are in the memory of each node, and which are on their way."""
        self.nodes_of = {}
        for node, (resident, loading) in zip(self.nodes, models, strict=True):
            node.resident, node.loading = resident, loading
            node.expected = {*node.resident, *(+node.running)}
            for name in node.expected:
                self.nodes_of.setdefault(name, set()).add(node.index)

    def sent(self, model: str, index: int) -> None:
        """Count a request; its node will have its model."""
        node = self.nodes[index]
        self.turn += 1
        node.last_use = self.turn
        node.in_flight += 1
        node.running[model] += 1
        node.expected.add(model)
        self.nodes_of.setdefault(model, set()).add(index)

    def answered(self, model: str, index: int) -> None:
        """Count an answer."""
        self.nodes[index].in_flight -= 1
        self.nodes[index].running[model] -= 1

    def loaded(self, model: str) -> list[int]:
        """Return the nodes that have a model, or will have, as far as it is known."""
        return sorted(self.nodes_of.get(model, ()))


Rule: TypeAlias = "Callable[[View, str], int]"


def random_node(view: View, _: str) -> int:
    """Return any node."""
    return view.draw.randrange(len(view.nodes))


def round_robin(view: View, _: str) -> int:
    """Return the nodes in turn."""
    return view.turn % len(view.nodes)


def two_choices(view: View, _: str) -> int:
    """Return the one of two random nodes with fewer requests in flight (Mitzenmacher, 1996)."""
    return min(random_node(view, ""), random_node(view, ""), key=lambda node: view.nodes[node].in_flight)


def fewest(view: View, _: str) -> int:
    """Return a node with the fewest requests in flight."""
    counts = view.in_flight
    return _first_with(counts, min(counts), random_node(view, ""))


def fewest_loaded(view: View, model: str) -> int:
    """Return the node with the fewest requests in flight of those that have the model; of all if none has it."""
    loaded = view.loaded(model)
    return _fewest_of(view, loaded) if loaded else fewest(view, model)


def least_wait(view: View, model: str) -> int:
    """Return the node with the least expected wait: its requests in flight, and loading if it lacks the model."""
    other, loaded = fewest(view, model), view.loaded(model)
    if not loaded:
        return other
    best = _fewest_of(view, loaded)
    longer = view.nodes[best].in_flight - view.nodes[other].in_flight
    return best if longer * view.image <= view.load else other


def gateways_own(view: View, model: str) -> int:
    """Return the node that the gateway chooses, by its own code."""
    return placement.choose(model, view.nodes).index


def hashed(view: View, model: str) -> int:
    """Return the model's first node (rendezvous hashing)."""
    return _ranking(model, len(view.nodes))[0]


def hashed_bounded(view: View, model: str) -> int:
    """Return the model's first node that has at most BOUND times the mean in flight (Mirrokni et al., 2018)."""
    counts = view.in_flight
    most = max(BOUND * (sum(counts) + 1) / len(counts), 1)
    return next(node for node in _ranking(model, len(counts)) if counts[node] < most)


def ray_multiplexed(view: View, model: str) -> int:
    """Return a node as Ray Serve does for a multiplexed model; NO_NODE while the asked ones are full.

    Two random replicas with the model are asked for their queue lengths. If none has it, or after RAY_MATCHING seconds,
    two of those with the fewest models are asked, then two of all.
    """
    everything = list(range(len(view.nodes)))
    least = min(len(node.expected) for node in view.nodes)
    emptiest = [node.index for node in view.nodes if len(node.expected) == least]
    loaded = view.loaded(model)
    for candidates in (loaded,) if loaded and view.waited < RAY_MATCHING else (loaded, emptiest, everything):
        if candidates:
            best = min(view.draw.sample(candidates, min(2, len(candidates))), key=view.lengths)
            if view.lengths(best) < RAY_ONGOING:
                return best
    return NO_NODE


RULES: Mapping[str, Rule] = {
    "random": random_node,
    "round robin": round_robin,
    "two choices": two_choices,
    "fewest in flight": fewest,
    "fewest where loaded": fewest_loaded,
    "gateway": gateways_own,
    "least expected wait": least_wait,
    "hash": hashed,
    "hash, bounded": hashed_bounded,
    "Ray, multiplexed": ray_multiplexed,
}
"""Rules by name."""


def _first_with(values: list[int], value: int, start: int) -> int:
    """Return the first index of `value` from `start` on, then from the beginning: ties go to a random node."""
    try:
        return values.index(value, start)
    except ValueError:
        return values.index(value)


def _fewest_of(view: View, nodes: Sequence[int]) -> int:
    counts = [view.nodes[node].in_flight for node in nodes]
    return nodes[_first_with(counts, min(counts), view.draw.randrange(len(nodes)))]


@cache
def _ranking(model: str, count: int) -> list[int]:
    def weight(node: int) -> bytes:
        return hashlib.sha256(f"{model} {node}".encode()).digest()

    return sorted(range(count), key=weight)
