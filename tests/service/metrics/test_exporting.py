"""The export while a server runs."""

from __future__ import annotations

import socket
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tintype.service.config import ServiceConfig
from tintype.service.metrics import exporting
from tintype.service.metrics.definitions import Sample
from tintype.service.metrics.measurements import Measurements
from tintype.v1.keys import Keys

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def test_a_device_that_hangs_does_not_hide_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the state of a device can't be read, its last one is exported, by one thread however often."""
    monkeypatch.setattr(exporting, "STATE_TIMEOUT", 0.05)
    asked, ends = [], Event()

    def state() -> list[Sample]:
        asked.append(1)
        if len(asked) > 1:
            ends.wait()
        return [Sample("running_tasks", (), 3)]

    config = ServiceConfig(data=tmp_path, metrics=f"127.0.0.1:{unused_port()}")
    keys = Keys(tmp_path / "keys", optional=True)
    server: Any = None
    async with exporting.export_device(config, server, keys, Measurements(), state), httpx.AsyncClient() as client:
        try:
            texts = [(await client.get(f"http://{config.metrics}/metrics")).text for _ in range(4)]
        finally:
            ends.set()
    assert ['tintype_service_running_tasks{device="0"} 3.0' in text for text in texts] == [True] * 4
    assert len(asked) == 2
