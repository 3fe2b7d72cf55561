"""Results in a bucket of S3, or of a server that speaks its protocol (the extra `s3`).

- `PREFIX/files/EXPIRY-NAME`: what has expired is seen from a listing, whoever wrote it. The key of the links is
  `PREFIX/links.key`: gateways that share a bucket honour each other's links.
- Links lead to the gateway. Where clients reach S3 themselves, it sends them on to a URL that S3's signature guards,
  made anew each time. In the answer itself such a URL would be worse: S3 signs the method, so it fails for HEAD; it
  refuses whoever sends `Authorization` along, and ends when temporary credentials do.
- How much lies there is counted from listings; gateways that share a bucket learn of each other's files by sweeping.
- Nothing is waited for longer than PATIENCE, and nothing is tried more than twice.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError

from ..errors import NoSuchFile, StartError
from .results import KEY_BYTES, Content, Ledger, Links, Stored, content
from .s3faults import BROKEN, CONNECT, GONE, PATIENCE, SILENCE, TAKEN, code, failure, why

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from ..config import GatewayConfig
    from .results import Clock

log = logging.getLogger(__name__)

LONGEST = 7 * 24 * 3600  # seconds that a URL with signature version 4 can live
REGION = "us-east-1"  # what servers other than Amazon's call theirs
NOBODY = Stored("none.png", 0)  # no file has this name

_KEY = re.compile(r"([0-9]{10})-([0-9a-f]{32}\.(?:png|jpg|webp))", re.ASCII)


@asynccontextmanager
async def opened(config: GatewayConfig, clock: Clock = time.time) -> AsyncIterator[S3Store]:
    """Open the bucket that is configured. Raises StartError where it can't be used as it must be."""
    if config.store_public and config.url_ttl > LONGEST:
        raise StartError(
            f"--url-ttl must be at most {LONGEST} with --store-public, as S3 has it, not {config.url_ttl:g}"
        )
    async with AsyncExitStack() as stack:
        try:
            session = AioSession()
            client = await stack.enter_async_context(_client(session, config.store_endpoint))
            signer = await stack.enter_async_context(_client(session, config.store_public))
            store = S3Store(client, config, signer if config.store_public else None, clock)
            async with asyncio.timeout(PATIENCE):
                await store.start()
        except (*BROKEN, ValueError) as error:
            raise StartError(f"the store {config.store} can't be used: {why(error)}") from error
        yield store


def _client(session: AioSession, endpoint: str) -> Any:
    """Return a client of S3 at an endpoint, empty for Amazon's; checksums that only Amazon knows are left out."""
    settings = AioConfig(
        signature_version="s3v4",
        connect_timeout=CONNECT,
        read_timeout=SILENCE,
        retries={"total_max_attempts": 2, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = session.get_config_variable("region") or REGION
    return session.create_client("s3", region_name=region, endpoint_url=endpoint or None, config=settings)


class S3Store:
    """A bucket; see `Store` for what it promises. `signer` makes the URLs for clients, where they reach S3."""

    def __init__(self, client: Any, config: GatewayConfig, signer: Any = None, clock: Clock = time.time) -> None:
        self._client = client
        self._signer = signer
        self._bucket, _, prefix = config.store.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/".removeprefix("/")
        self._ttl = config.url_ttl
        self._clock = clock
        self._ledger = Ledger(config.store_bytes, clock)
        self._links = Links(secrets.token_bytes(KEY_BYTES), "")

    async def start(self) -> None:
        """Find what is there, and that all that will be done is allowed. Raises what S3's client does."""
        self._ledger.replace([item async for item in self._scan()])
        await self._delete([NOBODY])
        self._links = Links(await self._key(), f"{self._bucket}/{self._prefix}links.key")

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[Stored]:
        """Keep pairs of a file and its MIME type, all or none of them. Raises StoreFull, StoreUnavailable."""
        surplus = self._ledger.surplus(sum(len(data) for data, _ in images))
        new = {Stored.new(mime_type, self._clock() + self._ttl): data for data, mime_type in images}
        self._count(new)  # before anything is waited for: others may ask for room meanwhile
        try:
            async with asyncio.timeout(PATIENCE):
                await self._delete(surplus)
                await _all(self._write(stored, data) for stored, data in new.items())
        except BROKEN as error:
            await self._forget(new)
            raise failure(error) from error
        self._count(new)  # again, as a sweep may have found them half there
        return list(new)

    def url(self, stored: Stored, base: str) -> str:
        """Return the link of a kept file."""
        return self._links.url(stored, base)

    async def open(self, name: str, access: str) -> Content:
        """Return what a link leads to. Raises NoSuchFile, StoreUnavailable."""
        stored, remaining = self._found(name, access)
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self._client.get_object(**self._at(stored))
                async with answer["Body"] as body:
                    return content(stored, await body.read(), remaining)
        except BROKEN as error:
            if code(error) in GONE:
                raise NoSuchFile from error
            raise failure(error) from error

    async def elsewhere(self, name: str, access: str, method: str) -> str | None:
        """Return the URL at S3 that answers this link for as long as it works. Raises NoSuchFile."""
        stored, remaining = self._found(name, access)
        if self._signer is None:
            return None
        action = "head_object" if method == "HEAD" else "get_object"
        url = await self._signer.generate_presigned_url(action, Params=self._at(stored), ExpiresIn=remaining)
        return str(url)

    async def sweep(self) -> int:
        """Delete what has expired and return how many files that were."""
        try:
            async with asyncio.timeout(PATIENCE):
                self._ledger.replace([item async for item in self._scan()])
                expired = self._ledger.expired()
                await self._delete(expired)
        except BROKEN as error:
            raise failure(error) from error
        return len(expired)

    def problem(self) -> str:
        """Return nothing: each call finds out anew, within PATIENCE."""
        return ""

    def _found(self, name: str, access: str) -> tuple[Stored, int]:
        """Return the file of a link, and the seconds that it still works."""
        stored = self._links.file(name, access)
        remaining = self._ledger.remaining(stored)
        if remaining <= 0:
            raise NoSuchFile
        return stored, remaining

    def _at(self, stored: Stored) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}files/{stored.expires:010}-{stored.name}"}

    def _count(self, new: dict[Stored, bytes]) -> None:
        for stored, data in new.items():
            self._ledger.add(stored, len(data))

    async def _write(self, stored: Stored, data: bytes) -> None:
        await self._client.put_object(
            **self._at(stored),
            Body=data,
            ContentType=stored.mime_type,
            ContentDisposition=f'inline; filename="{stored.name}"',
            CacheControl=f"private, max-age={int(self._ttl)}, immutable",
        )

    async def _forget(self, new: Iterable[Stored]) -> None:
        """Delete what is there of a request that failed; what can't be deleted now goes when it expires."""
        try:
            async with asyncio.timeout(CONNECT):
                await self._delete(new)
        except BROKEN:
            log.warning("pictures of a request that failed stay in %s until they expire", self._bucket)

    async def _delete(self, files: Iterable[Stored]) -> None:
        files = list(files)
        for stored in files:
            self._ledger.drop(stored)
        await _all(self._client.delete_object(**self._at(stored)) for stored in files)

    async def _scan(self) -> AsyncIterator[tuple[Stored, int]]:
        """Yield each kept file and its size."""
        start = f"{self._prefix}files/"
        pages = self._client.get_paginator("list_objects_v2")
        async for page in pages.paginate(Bucket=self._bucket, Prefix=start):
            for found in page.get("Contents", ()):
                match = _KEY.fullmatch(found["Key"].removeprefix(start))
                if match:
                    yield Stored(match[2], int(match[1])), found["Size"]

    async def _key(self) -> bytes:
        """Return the key that signs links; the first gateway makes it."""
        where = {"Bucket": self._bucket, "Key": f"{self._prefix}links.key"}
        try:
            return await self._read(where)
        except ClientError as error:
            if code(error) not in GONE:
                raise
        try:
            await self._client.put_object(**where, Body=secrets.token_bytes(KEY_BYTES), IfNoneMatch="*")
        except ClientError as error:
            if code(error) not in TAKEN:  # another gateway was first
                raise
        return await self._read(where)

    async def _read(self, where: dict[str, str]) -> bytes:
        answer = await self._client.get_object(**where)
        async with answer["Body"] as body:
            return bytes(await body.read())


async def _all(work: Iterable[Any]) -> None:
    """Do things at the same time, and wait for all of them. Raises what the first that failed did."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
