"""`/health` and `/version`: what monitors learn, with and without a key."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from tests.support.command import tintype
from tests.support.gateway.fakes import config, running_gateway, running_service
from tintype.gateway.version import Version
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.support.gateway.fakes import FakeService, Service

pytestmark = pytest.mark.anyio


async def test_health(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """It names the version, and counts models and requests."""
    answer = await gateway.get("/health")
    found = answer.json()
    assert (answer.status_code, found["status"], found["version"]) == (200, "ok", metadata.version("tintype"))
    assert (found["models"], found["requests_in_flight"]) == (len(fake.models), 1)
    assert found["uptime_seconds"] > 0
    assert (await gateway.head("/health")).status_code == 200


async def test_unavailable(tmp_path: Path) -> None:
    """Without its service it is 503, with the reason of /readyz."""
    async with running_service() as service, running_gateway(config(service, tmp_path)) as client:
        await service.server.stop(None)
        answer, ready = await client.get("/health"), await client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert answer.json()["why"] == ready.json()["why"]
    assert "models" not in answer.json()


async def test_strangers_learn_only_the_status(service: Service, tmp_path: Path) -> None:
    """If keys are required, details and the version need one; the status does not."""
    secret = create(tmp_path / "keys", "alice")
    async with running_gateway(config(service, tmp_path)) as client:
        key = {"authorization": f"Bearer {secret}"}
        assert (await client.get("/health")).json() == {"status": "ok"}
        assert (await client.get("/health", headers={"api-key": "wrong"})).json() == {"status": "ok"}
        assert "models" in (await client.get("/health", headers=key)).json()
        assert (await client.get("/version")).status_code == 401
        assert (await client.get("/version", headers=key)).status_code == 200


async def test_version(gateway: httpx.AsyncClient) -> None:
    """It is that of the command and of the installed packages."""
    found = (await gateway.get("/version")).json()
    assert found["version"] == metadata.version("tintype")
    assert found["api"] == "tintype.v1"
    assert found["onnxruntime"] in {
        each.version for each in metadata.distributions() if each.name.startswith("onnxruntime")
    }
    assert tintype("--version").stdout.startswith(f"tintype {found['version']}")


def test_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit comes from the variable of a container's image; the command prints it, too."""
    monkeypatch.setenv("TINTYPE_COMMIT", "0abc123")
    assert Version.installed().commit == "0abc123"
    assert tintype("--version", TINTYPE_COMMIT="0abc123").stdout.strip().endswith("(0abc123)")
