"""One run: clients, gateways and nodes for a number of images, and what was measured after a warm-up."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from .balancing import NO_NODE, RULES, NodeView, View
from .clock import Clock
from .node import Node
from .profiles import judged_widths
from .results import Result, Snapshot
from .tasks import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .profiles import Profile

WARM_UP = 0.25  # share of the requests that is not counted
TAIL = 0.95  # share of the answers after which the rate is not measured
PAUSE = 0.5  # seconds until a request that no node took is tried again
BURST = 1.6  # rate of a burst, in mean rates; the pauses between bursts, as long, have the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is simulated.

    Attributes:
        steps: numbers of denoiser calls; each request draws one of them.
        rate: requests per second; 0 for `load` of what the nodes can do with all models loaded.
        models: number of models, of popularity 1/k^`zipf`; `capacity` of them fit into the memory of a node.
        callers: number of callers, among which the queues of the nodes are fair.
        gateways: each counts its own requests, and learns every `refresh` seconds which node has which model.
        spread: whether models are in the memories by popularity at first; otherwise each node has the first ones, as
            after a start with one list of models.
        burst: mean seconds of a burst and of a pause; 0 for a constant rate (Poisson).
    """

    profile: Profile
    steps: tuple[int, ...] = (8, 20, 20, 20, 50)
    nodes: int = 1
    rule: str = "gateway"
    load: float = 0.8
    rate: float = 0.0
    models: int = 1
    capacity: int = 1
    zipf: float = 1.0
    callers: int = 50
    gateways: int = 1
    refresh: float = 5.0
    spread: bool = False
    burst: float = 0.0
    images: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(RULES)}; got {self.rule!r}")
        if not self.steps or min(self.steps) < 1:
            raise ValueError(f"steps must be numbers of at least 1; got {self.steps}")
        for name in ("nodes", "models", "capacity", "callers", "gateways", "images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")

    @property
    def mean_steps(self) -> float:
        """Mean number of denoiser calls of a request."""
        return sum(self.steps) / len(self.steps)

    @property
    def requests_per_second(self) -> float:
        """The mean rate of requests."""
        return self.rate or self.load * self.nodes / self.profile.image(self.mean_steps, most=True)


class Gateway:
    """A gateway: a processor that serves one request after the other, before and after the node."""

    def __init__(self, cluster: Cluster, view: View) -> None:
        self._cluster, self._clock, self._view = cluster, cluster.clock, view
        self._half = cluster.setup.profile.gateway / 2
        self._rule = RULES[cluster.setup.rule]
        self._free_at = 0.0
        self.busy = 0.0

    def accept(self, request: Request) -> None:
        """Read a request, and send it to a node."""
        self._clock.at(self._work(), lambda: self._send(request))

    def answer(self, request: Request) -> None:
        """Send the answer to the client."""
        self._view.answered(request.model, request.node)
        self._clock.at(self._work(), lambda: self._cluster.answered(request))

    def look(self, models: Sequence[tuple[frozenset[str], frozenset[str]]]) -> None:
        """Learn which models are where."""
        self._view.look(models)

    def _send(self, request: Request) -> None:
        self._view.waited = self._clock.now - request.sent
        request.node = self._rule(self._view, request.model)
        if request.node == NO_NODE:
            self._clock.after(PAUSE, lambda: self._send(request))
            return
        self._view.sent(request.model, request.node)
        self._cluster.nodes[request.node].admit(request)

    def _work(self) -> float:
        self._free_at = max(self._free_at, self._clock.now) + self._half
        self.busy += self._half
        return self._free_at


class Cluster:
    """Clients, gateways and nodes of one run."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.clock = setup, Clock()
        self._draw = random.Random(setup.seed)  # noqa: S311 - a simulation
        widths, size = judged_widths(setup.profile), setup.capacity
        self.nodes = [Node(self.clock, setup.profile, widths, size, self._finished) for _ in range(setup.nodes)]
        self._names = [f"model-{number}" for number in range(setup.models)]
        self._weights = list(accumulate((number + 1) ** -setup.zipf for number in range(setup.models)))
        self._place_models()
        self._gateways = [Gateway(self, self._view(number)) for number in range(setup.gateways)]
        self._of_request: dict[int, Gateway] = {}
        self._answered: list[Request] = []
        self._pending = setup.images
        self._look()

    def run(self, arrivals: Sequence[tuple[float, int]] | None = None) -> Result:
        """Run to the last answer. `arrivals` are times and steps of requests; without them they are drawn."""
        requests = self._requests(arrivals) if arrivals else self._drawn_requests()
        self._pending = len(requests)
        for request in requests:
            gateway = self._of_request[request.number] = self._draw.choice(self._gateways)
            self.clock.at(request.sent, lambda request=request, gateway=gateway: gateway.accept(request))  # type: ignore[misc]
        first, last = requests[int(len(requests) * WARM_UP)].sent, requests[-1].sent
        snapshots: list[Snapshot] = []
        for time in (first, last):
            self.clock.at(time, lambda: snapshots.append(self._snapshot()))
        self.clock.run()
        start, end = snapshots
        return self._result(start, end, first)

    def answered(self, request: Request) -> None:
        """Record the answer that a client has received."""
        request.done = self.clock.now
        self._pending -= 1
        self._answered.append(request)

    def _finished(self, request: Request) -> None:
        self._of_request[request.number].answer(request)

    def _place_models(self) -> None:
        """Fill each memory with models: popular ones more often, or each with the first ones."""
        for node in self.nodes:
            first = iter(self._names)
            while len(node.memory.resident) < min(self.setup.capacity, self.setup.models):
                name = self._draw_model() if self.setup.spread else next(first)
                if name not in node.memory.resident:
                    node.memory.place(name)

    def _draw_model(self) -> str:
        return self._draw.choices(self._names, cum_weights=self._weights)[0]

    def _view(self, number: int) -> View:
        profile = self.setup.profile
        draw = random.Random(f"{self.setup.seed} {number}")  # noqa: S311 - a simulation
        return View(
            draw,
            [NodeView(index, last_use=draw.random()) for index in range(self.setup.nodes)],
            profile.load,
            profile.image(self.setup.mean_steps),
            lambda node: len(self.nodes[node]),
            turn=draw.randrange(self.setup.nodes),
        )

    def _look(self) -> None:
        """Tell every gateway which models are where, now and every `refresh` seconds."""
        models = [(frozenset(node.memory.resident), node.memory.loading) for node in self.nodes]
        for gateway in self._gateways:
            gateway.look(models)
        if self._pending:
            self.clock.after(self.setup.refresh, self._look)

    def _drawn_requests(self) -> list[Request]:
        return self._requests([(time, self._draw.choice(self.setup.steps)) for time in self._times()])

    def _requests(self, arrivals: Sequence[tuple[float, int]]) -> list[Request]:
        return [
            Request(number, self._draw_model(), f"caller-{self._draw.randrange(self.setup.callers)}", steps, time)
            for number, (time, steps) in enumerate(arrivals)
        ]

    def _times(self) -> Iterator[float]:
        """Yield the times of requests: Poisson, or with bursts (a Markov-modulated Poisson process)."""
        now, rate, burst = 0.0, self.setup.requests_per_second, self.setup.burst
        factor, until = (BURST, self._draw.expovariate(1 / burst)) if burst else (1.0, float("inf"))
        for _ in range(self.setup.images):
            while (after := now + self._draw.expovariate(rate * factor)) > until:
                now, factor = until, 2 - factor
                until = now + self._draw.expovariate(1 / burst)
            now = after
            yield now

    def _snapshot(self) -> Snapshot:
        nodes = self.nodes
        return Snapshot(
            self.clock.now,
            sum(node.busy for node in nodes),
            sum(node.memory.loads for node in nodes),
            sum(node.images for node in nodes),
            sum(gateway.busy for gateway in self._gateways),
        )

    def _result(self, start: Snapshot, end: Snapshot, first: float) -> Result:
        counted = [request for request in self._answered if request.sent >= first]
        made = [request for request in counted if not request.refused]
        seconds, images = max(end.time - start.time, 1e-9), max(end.images - start.images, 1)
        return Result(
            sorted(request.wait for request in made),
            sorted(request.latency for request in made),
            (end.busy - start.busy) / seconds / self.setup.nodes,
            min((end.gateways - start.gateways) / seconds / self.setup.gateways, 1.0),
            (end.loads - start.loads) / images,
            self.setup.nodes * self._seconds_per_answer(),
            1 - len(made) / max(len(counted), 1),
            sum(request.work for request in made) / max(len(made), 1),
        )

    def _seconds_per_answer(self) -> float:
        """Return the mean time between two answers, without the warm-up and the last ones, after which load is less.

        It is at least what the gateways' processors allow: gateways that fall behind catch up only after a run.
        """
        times = [request.done for request in self._answered if not request.refused]
        first, last = int(len(times) * WARM_UP), int(len(times) * TAIL)
        found = (times[last] - times[first]) / max(last - first, 1) if times else float("inf")
        return max(found, self.setup.profile.gateway / self.setup.gateways)


def simulate(setup: Setup) -> Result:
    """Run one setup."""
    return Cluster(setup).run()
