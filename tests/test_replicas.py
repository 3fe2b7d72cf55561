"""Several services behind gateways, as processes: restarts and crashes under load fail no request."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import fleet, load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


def test_rolling_restart_and_a_crash_fail_no_request(tmp_path: Path) -> None:
    """All services and gateways are restarted one after the other, then a service is killed: each answer is an image.

    Equal seeds give equal images, whichever replica made them, and however often.
    """

    async def scenario() -> None:
        with fleet(tmp_path) as running:
            async with load(running, clients=3) as clients:
                await clients.wait_for_more(6)
                for server in (*running.services, *running.gateways):
                    await server.end(signal.SIGTERM)
                    server.start()
                    await running.ready(clients.client)
                await clients.wait_for_more(6)
                await running.services[0].end(signal.SIGKILL)
                await clients.wait_for_more(12)
            assert set(clients.statuses) == {200}
            assert [len(images) for images in clients.seeds.values()] == [1, 1, 1]

    asyncio.run(scenario())
