"""Rolling updates and lost nodes while clients send requests through a gateway."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import load
from tests.support.cluster.nodes import wait_until

if TYPE_CHECKING:
    from tests.support.cluster.nodes import Nodes

pytestmark = pytest.mark.slow

CLIENTS = 6


def test_rolling_update(nodes: Nodes, gateway: str) -> None:
    """Replicas are replaced one by one, each after its last request: no request fails."""
    before = nodes.replica_logs().keys()
    update = ("--replicas", "2", "--cpus", "2", "--queue", "32")
    done = asyncio.run(load.run(gateway, CLIENTS, lambda: nodes.deploy(*update), after=2, least=CLIENTS))
    print(f"rolling update: {done}")  # noqa: T201
    assert done.statuses.keys() == {200}
    assert len(nodes.replica_logs().keys() - before) == 2


def test_node_killed_under_load(nodes: Nodes, gateway: str) -> None:
    """A node is killed: every request is answered, nearly all with an image, the others with an error that says why.

    The node joins again, and Serve starts its replica there.
    """
    done = asyncio.run(load.run(gateway, CLIENTS, nodes.second.kill, after=15, least=2 * CLIENTS))
    print(f"node killed: {done}")  # noqa: T201
    assert done.statuses.keys() <= {200, 503}
    assert done.statuses[503] <= CLIENTS
    for error in done.errors:
        assert json.loads(error.partition(" ")[2])["error"]["message"]
    nodes.start_second()
    wait_until(lambda: "2 running" in nodes.command("status").stdout, "both replicas run again")
