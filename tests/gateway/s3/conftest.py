"""One S3 server for all of these tests, and a place in it for each."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.bucket import use_credentials
from tests.support.gateway.seaweed import BUCKET, OWNER, create_bucket, running_seaweed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="package")
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:  # noqa: ARG001
    """Return the URL of an S3 server."""
    with running_seaweed(tmp_path_factory.mktemp("weed")) as url:
        await create_bucket(url)
        yield url


@pytest.fixture
def place() -> str:
    """Return a bucket, with a separate place for each test."""
    return f"{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture(autouse=True)
def owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use the owner's credentials for the gateway, and none of this machine."""
    use_credentials(monkeypatch, OWNER)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
