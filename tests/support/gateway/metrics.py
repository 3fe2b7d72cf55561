"""All metrics that a gateway can have."""

from __future__ import annotations

from typing import Any

from tintype.gateway.metrics import Metrics, ReplicaMetrics
from tintype.gateway.upstream.replicas import ReplicaState


class OneReplica:
    """A client of the service with one replica."""

    def replica_states(self) -> list[ReplicaState]:
        return [ReplicaState("127.0.0.1:50051", healthy=True, in_flight=1, repeats=2)]


def gateway_metrics() -> bytes:
    """Return the text of a gateway's metrics before its first request."""
    metrics, client = Metrics(), OneReplica()
    service: Any = client
    metrics.registry.register(ReplicaMetrics(service))
    return metrics.text()
