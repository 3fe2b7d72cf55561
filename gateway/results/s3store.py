"""Store of results in a bucket of S3 or a compatible server (the extra `s3`).

- Objects are named `PREFIX/files/EXPIRY-NAME`, so a listing shows what has expired. The key of the links is
  `PREFIX/links.key`, so gateways that share a bucket accept each other's links.
- Links lead to the gateway. If clients can reach S3, the gateway redirects them to a presigned URL, made for each
  request. A presigned URL as the link itself would be worse: S3 signs the method, so it fails for HEAD; S3 rejects
  requests that also send `Authorization`; and the URL expires with temporary credentials.
- The used space is counted from listings; gateways that share a bucket see each other's files when they sweep.
- Each operation takes at most OPERATION_TIMEOUT and is tried at most twice.
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
from aiohttp import ClientError as ConnectionClosed
from botocore.exceptions import BotoCoreError, ClientError

from ..errors import NoSuchFile, StartError, StoreFull, StoreUnavailable
from .store import KEY_BYTES, FileContent, Ledger, Links, StoredFile, file_content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from ..config import GatewayConfig
    from .store import Clock

log = logging.getLogger(__name__)

MAX_PRESIGNED_TTL = 7 * 24 * 3600  # seconds, the longest lifetime of a URL with signature version 4
DEFAULT_REGION = "us-east-1"  # the region of servers other than Amazon's
NO_FILE = StoredFile("none.png", 0)  # no file has this name

CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 15.0  # seconds between two bytes
OPERATION_TIMEOUT = 40.0  # seconds for a whole operation

STORE_ERRORS = (ClientError, BotoCoreError, ConnectionClosed, TimeoutError, OSError)
_FULL_CODES = {
    "QuotaExceeded",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "EntityTooLarge",
    "InsufficientStorage",
}
MISSING_CODES = {"NoSuchKey", "404"}
CONFLICT_CODES = {"PreconditionFailed", "ConditionalRequestConflict"}
# Messages at start, by S3's error code or the name of its client library's exception.
_EXPLANATIONS = {
    "NoSuchBucket": "there is no such bucket: create it first",
    "AccessDenied": "these credentials may not list, read, write and delete there (AccessDenied)",
    "InvalidAccessKeyId": "the access key is unknown there (InvalidAccessKeyId)",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key (SignatureDoesNotMatch)",
    "NoCredentialsError": "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "PartialCredentialsError": "one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is missing",
    "EndpointConnectionError": "nothing answers at the endpoint",
    "ConnectTimeoutError": f"the endpoint can't be reached within {CONNECT_TIMEOUT:g} s",
    "ReadTimeoutError": f"the endpoint sends nothing for {READ_TIMEOUT:g} s",
    "TimeoutError": f"it takes longer than {OPERATION_TIMEOUT:g} s",
}

_KEY = re.compile(r"([0-9]{10})-([0-9a-f]{32}\.(?:png|jpg|webp))", re.ASCII)


@asynccontextmanager
async def open_store(config: GatewayConfig, clock: Clock = time.time) -> AsyncIterator[S3Store]:
    """Open the configured bucket. Raises StartError if it can't be listed, read, written and deleted from."""
    if config.store_public and config.url_ttl > MAX_PRESIGNED_TTL:
        raise StartError(
            f"--url-ttl must be at most {MAX_PRESIGNED_TTL} with --store-public, which is S3's limit, "
            f"not {config.url_ttl:g}"
        )
    async with AsyncExitStack() as stack:
        try:
            session = AioSession()
            client = await stack.enter_async_context(_client(session, config.store_endpoint))
            signer = await stack.enter_async_context(_client(session, config.store_public))
            store = S3Store(client, config, signer if config.store_public else None, clock)
            async with asyncio.timeout(OPERATION_TIMEOUT):
                await store.start()
        except (*STORE_ERRORS, ValueError) as error:
            raise StartError(f"cannot use the store {config.store}: {_explain(error)}") from error
        yield store


def _client(session: AioSession, endpoint: str) -> Any:
    """Return a client of S3 at an endpoint (empty: Amazon's), without checksums that only Amazon supports."""
    settings = AioConfig(
        signature_version="s3v4",
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": 2, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    region = session.get_config_variable("region") or DEFAULT_REGION
    return session.create_client("s3", region_name=region, endpoint_url=endpoint or None, config=settings)


class S3Store:
    """A `Store` in a bucket. `signer` presigns URLs for clients, if they can reach S3."""

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
        """Scan the bucket, and check that all operations are allowed. Raises the errors of S3's client."""
        self._ledger.replace([item async for item in self._scan()])
        await self._delete([NO_FILE])
        self._links = Links(await self._key(), f"{self._bucket}/{self._prefix}links.key")

    async def put(self, images: Sequence[tuple[bytes, str]]) -> list[StoredFile]:
        """Store pairs of a file and its MIME type, all or none of them. Raises StoreFull, StoreUnavailable."""
        surplus = self._ledger.surplus(sum(len(data) for data, _ in images))
        new = {StoredFile.new(mime_type, self._clock() + self._ttl): data for data, mime_type in images}
        self._add_to_ledger(new)  # before the first await: other requests may need space meanwhile
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT):
                await self._delete(surplus)
                await _run_all(self._write(stored, data) for stored, data in new.items())
        except STORE_ERRORS as error:
            await self._delete_failed(new)
            raise _log_and_translate(error) from error
        self._add_to_ledger(new)  # again: a sweep meanwhile may have found only some of them
        return list(new)

    def url(self, stored: StoredFile, base: str) -> str:
        """Return the link of a stored file."""
        return self._links.url(stored, base)

    async def open(self, name: str, access: str) -> FileContent:
        """Return the file behind a link. Raises NoSuchFile, StoreUnavailable."""
        stored, remaining = self._valid_file(name, access)
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT):
                response = await self._client.get_object(**self._object(stored))
                async with response["Body"] as body:
                    return file_content(stored, await body.read(), remaining)
        except STORE_ERRORS as error:
            if _error_code(error) in MISSING_CODES:
                raise NoSuchFile from error
            raise _log_and_translate(error) from error

    async def redirect_url(self, name: str, access: str, method: str) -> str | None:
        """Return a presigned URL for this link, with the same expiry. Raises NoSuchFile."""
        stored, remaining = self._valid_file(name, access)
        if self._signer is None:
            return None
        action = "head_object" if method == "HEAD" else "get_object"
        url = await self._signer.generate_presigned_url(action, Params=self._object(stored), ExpiresIn=remaining)
        return str(url)

    async def sweep(self) -> int:
        """Delete expired files and return their number."""
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT):
                self._ledger.replace([item async for item in self._scan()])
                expired = self._ledger.expired()
                await self._delete(expired)
        except STORE_ERRORS as error:
            raise _log_and_translate(error) from error
        return len(expired)

    def problem(self) -> str:
        """Return an empty text: each operation notices a failure itself, within OPERATION_TIMEOUT."""
        return ""

    def _valid_file(self, name: str, access: str) -> tuple[StoredFile, int]:
        """Return the file of a link, and the seconds until it expires. Raises NoSuchFile."""
        stored = self._links.file(name, access)
        remaining = self._ledger.remaining(stored)
        if remaining <= 0:
            raise NoSuchFile
        return stored, remaining

    def _object(self, stored: StoredFile) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}files/{stored.expires:010}-{stored.name}"}

    def _add_to_ledger(self, new: dict[StoredFile, bytes]) -> None:
        for stored, data in new.items():
            self._ledger.add(stored, len(data))

    async def _write(self, stored: StoredFile, data: bytes) -> None:
        await self._client.put_object(
            **self._object(stored),
            Body=data,
            ContentType=stored.mime_type,
            ContentDisposition=f'inline; filename="{stored.name}"',
            CacheControl=f"private, max-age={int(self._ttl)}, immutable",
        )

    async def _delete_failed(self, new: Iterable[StoredFile]) -> None:
        """Delete the files of a request that failed; what can't be deleted now is deleted after its expiry."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._delete(new)
        except STORE_ERRORS:
            log.warning("images of a failed request stay in %s until they expire", self._bucket)

    async def _delete(self, files: Iterable[StoredFile]) -> None:
        files = list(files)
        for stored in files:
            self._ledger.drop(stored)
        await _run_all(self._client.delete_object(**self._object(stored)) for stored in files)

    async def _scan(self) -> AsyncIterator[tuple[StoredFile, int]]:
        """Yield each stored file and its size."""
        start = f"{self._prefix}files/"
        pages = self._client.get_paginator("list_objects_v2")
        async for page in pages.paginate(Bucket=self._bucket, Prefix=start):
            for found in page.get("Contents", ()):
                match = _KEY.fullmatch(found["Key"].removeprefix(start))
                if match:
                    yield StoredFile(match[2], int(match[1])), found["Size"]

    async def _key(self) -> bytes:
        """Return the key that signs links; the first gateway creates it."""
        location = {"Bucket": self._bucket, "Key": f"{self._prefix}links.key"}
        try:
            return await self._read(location)
        except ClientError as error:
            if _error_code(error) not in MISSING_CODES:
                raise
        try:
            await self._client.put_object(**location, Body=secrets.token_bytes(KEY_BYTES), IfNoneMatch="*")
        except ClientError as error:
            if _error_code(error) not in CONFLICT_CODES:  # another gateway was first
                raise
        return await self._read(location)

    async def _read(self, location: dict[str, str]) -> bytes:
        response = await self._client.get_object(**location)
        async with response["Body"] as body:
            return bytes(await body.read())


async def _run_all(work: Iterable[Any]) -> None:
    """Run awaitables concurrently and wait for all of them. Raises the first error in their order."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _error_code(error: BaseException) -> str:
    """Return S3's code of an error, or the name of its client library's exception."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def _explain(error: BaseException) -> str:
    """Return a message of one line for an error."""
    return _EXPLANATIONS.get(_error_code(error)) or " ".join(str(error).split()) or type(error).__name__


def _log_and_translate(error: Exception) -> StoreFull | StoreUnavailable:
    """Log an error; return the error that the client gets."""
    log.warning("cannot store or read results: %s", _explain(error))
    return StoreFull() if _error_code(error) in _FULL_CODES else StoreUnavailable()
