"""Errors of a bucket at the gateway's start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.bucket import config, use_credentials
from tests.support.gateway.seaweed import READER, free_ports, running_server, s3_client
from tintype.gateway.errors import StartError
from tintype.gateway.results import s3store
from tintype.gateway.results.stores import open_store

if TYPE_CHECKING:
    from tintype.gateway.config import GatewayConfig

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


class TestStart:
    @pytest.mark.parametrize(
        ("user", "why"),
        [
            (("owner", "wrong"), "the secret key does not belong to the access key"),
            (("nobody", "x"), "the access key is unknown"),
            (READER, "may not list, read, write and delete there"),
            (("", ""), "no credentials: set AWS_ACCESS_KEY_ID"),
        ],
        ids=["secret", "key", "rights", "none"],
    )
    async def test_invalid_credentials_are_reported(
        self, server: str, place: str, monkeypatch: pytest.MonkeyPatch, user: tuple[str, str], why: str
    ) -> None:
        """Missing, wrong or insufficient credentials are reported at start."""
        use_credentials(monkeypatch, user)
        with pytest.raises(StartError, match=f"^cannot use the store s3://{place}/some/where: .*{why}"):
            await self.start(config(server, place))

    async def test_a_missing_bucket_is_reported(self, server: str) -> None:
        """A missing bucket is not created."""
        with pytest.raises(StartError, match=r"there is no such bucket: create it first$"):
            await self.start(config(server, "missing"))

    async def test_a_closed_endpoint_is_reported(self) -> None:
        """An endpoint where nothing listens is reported."""
        with pytest.raises(StartError, match="nothing answers at the endpoint"):
            await self.start(config(f"http://127.0.0.1:{free_ports(1)[0]}", "bucket"))

    async def test_a_silent_endpoint_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An endpoint that never answers is given up after a time limit."""
        monkeypatch.setattr(s3store, "READ_TIMEOUT", 0.2)

        async def ignore(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            while await reader.read(2**16):
                pass

        async with running_server(ignore) as url:
            with pytest.raises(StartError, match="the endpoint sends nothing"):
                await self.start(config(url, "bucket"))

    async def test_an_endless_answer_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An endpoint that sends single bytes forever is given up, too."""
        monkeypatch.setattr(s3store, "OPERATION_TIMEOUT", 0.5)

        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n<")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

        async with running_server(drip) as url:
            with pytest.raises(StartError, match="it takes longer than"):
                await self.start(config(url, "bucket"))

    async def test_a_truncated_key_is_refused(self, server: str, place: str) -> None:
        """A truncated key of the links is not used; the message says what to do."""
        bucket, _, prefix = place.partition("/")
        async with s3_client(server) as client:
            await client.put_object(Bucket=bucket, Key=f"{prefix}/some/where/links.key", Body=b"short")
        with pytest.raises(StartError, match=r"some/where/links\.key must have 32 bytes, not 5: delete it"):
            await self.start(config(server, place))

    async def test_gateways_that_start_together_share_a_key(self, server: str, place: str) -> None:
        """If several gateways start on a new bucket, one creates the key."""
        links = await asyncio.gather(*(self.start(config(server, place)) for _ in range(5)))
        assert len(set(links)) == 1

    async def test_a_ttl_above_a_week_is_refused(self, server: str, place: str) -> None:
        """Presigned links live at most a week."""
        with pytest.raises(StartError, match="--url-ttl must be at most 604800 with --store-public"):
            await self.start(config(server, place, store_public=server, url_ttl=700_000))

    async def start(self, settings: GatewayConfig) -> str:
        """Open the store and return its link for a file."""
        async with open_store(settings) as store:
            return store.url(s3store.NO_FILE, "")
