"""A gateway whose results are in a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.gateway.seaweed import s3_client
from tintype.gateway.config import GatewayConfig

if TYPE_CHECKING:
    import pytest


def use_credentials(monkeypatch: pytest.MonkeyPatch, user: tuple[str, str]) -> None:
    """Set the gateway's credentials: access key and secret key."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user[1])


def config(server: str, place: str, **changes: Any) -> GatewayConfig:
    """Return the configuration of a gateway with its results in `place` of the S3 server."""
    defaults: dict[str, Any] = {
        "rest": "127.0.0.1:0",
        "store": f"s3://{place}/some/where",
        "store_endpoint": server,
        "timeout": 20,
    }
    return GatewayConfig(**(defaults | {"url_ttl": 100, "store_bytes": 20} | changes))


async def stored_objects(server: str, place: str) -> dict[str, bytes]:
    """Return all objects in a place except the key of the links, read by another client; names are relative."""
    bucket, _, prefix = place.partition("/")
    async with s3_client(server) as client:
        listing = await client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for item in listing.get("Contents", ()) if not item["Key"].endswith("links.key")]
        files = [await (await client.get_object(Bucket=bucket, Key=key))["Body"].read() for key in keys]
    return {key.removeprefix(f"{prefix}/"): file for key, file in zip(keys, files, strict=True)}
