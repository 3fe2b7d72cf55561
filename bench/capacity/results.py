"""What a run of the simulation gave: waiting times and the figures of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Summary(NamedTuple):
    """Figures of a run. Times are seconds; `refused` is a share of the requests."""

    p50: float
    p95: float
    p99: float
    utilisation: float
    gateway_utilisation: float
    loads_per_image: float
    node_seconds_per_image: float
    refused: float


class Result(NamedTuple):
    """What a run gave, after its warm-up. Times are seconds; `refused` is a share of the requests."""

    waits: Sequence[float]
    latencies: Sequence[float]
    utilisation: float
    gateway_utilisation: float
    loads_per_image: float
    node_seconds_per_image: float
    refused: float
    mean_work: float

    def summary(self) -> Summary:
        """Return its figures without the single waiting times."""
        return Summary(
            self.wait(0.5),
            self.wait(0.95),
            self.wait(0.99),
            self.utilisation,
            self.gateway_utilisation,
            self.loads_per_image,
            self.node_seconds_per_image,
            self.refused,
        )

    def wait(self, share: float) -> float:
        """Return a quantile of the waiting times."""
        return quantile(self.waits, share)

    @property
    def mean_wait(self) -> float:
        """Mean of the waiting times."""
        return sum(self.waits) / max(len(self.waits), 1)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return a quantile of ordered values; infinity if there are none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("inf")


class Snapshot(NamedTuple):
    """Sums over all nodes and gateways at one time."""

    time: float
    busy: float
    loads: int
    images: int
    gateways: float
