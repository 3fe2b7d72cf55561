"""Which store is opened."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.results.localstore import LocalStore
from tintype.gateway.results.stores import open_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_results_are_in_the_data_folder_by_default(tmp_path: Path) -> None:
    """By default, results are in the data folder."""
    async with open_store(GatewayConfig(data=tmp_path)) as store:
        assert isinstance(store, LocalStore)


async def test_a_missing_extra_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the extra is not installed, the message says how to install it."""
    monkeypatch.delattr("tintype.gateway.results.s3store", raising=False)
    monkeypatch.setitem(sys.modules, "tintype.gateway.results.s3store", None)
    with pytest.raises(StartError, match=r"s3://bucket needs an extra: pip install '\.\[s3\]' in the clone"):
        async with open_store(GatewayConfig(store="s3://bucket")):
            pass


@pytest.mark.parametrize(
    "store", ["bucket", "s3:/bucket", "s3://", "s3://Bucket", "s3://b", "gs://bucket", "s3://ab c"]
)
def test_an_invalid_bucket_is_refused(store: str) -> None:
    """An invalid bucket is refused at start."""
    with pytest.raises(StartError, match="store must be s3://BUCKET or s3://BUCKET/PREFIX"):
        GatewayConfig(store=store)


@pytest.mark.parametrize("name", ["public_url", "store_endpoint", "store_public"])
def test_an_invalid_url_is_refused(name: str) -> None:
    """An invalid URL is refused at start."""
    with pytest.raises(
        StartError, match=f"--{name.replace('_', '-')} must begin with http:// or https://; got 'minio:9000'"
    ):
        GatewayConfig(**{name: "minio:9000"})  # type: ignore[arg-type]
