"""Results in a bucket of an S3 server that checks signatures: storing, counting, deleting."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.support.gateway.bucket import config, stored_objects
from tests.support.gateway.clock import Clock
from tests.support.gateway.samples import FILES
from tests.support.gateway.seaweed import BUCKET, s3_client
from tintype.gateway.errors import NoSuchFile, StoreFull, StoreUnavailable
from tintype.gateway.results import s3store
from tintype.gateway.results.stores import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tintype.gateway.results.s3store import S3Store
    from tintype.gateway.results.store import FileContent

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
async def store(server: str, place: str, clock: Clock) -> AsyncIterator[S3Store]:
    async with s3store.open_store(config(server, place), clock) as store:
        yield store


async def follow(store: S3Store, link: str) -> FileContent:
    access, name = link.split("/")[-2:]
    return await store.open(name, access)


async def test_stored_files_are_returned_with_their_type(store: S3Store, server: str, place: str) -> None:
    """A stored file is returned with its type; its object is named by prefix, expiry and name."""
    stored = await store.put(FILES)
    for (data, mime_type), file in zip(FILES, stored, strict=True):
        content = await follow(store, store.url(file, "http://h"))
        assert (content.data, content.mime_type, content.etag) == (data, mime_type, f'"{file.name[:32]}"')
        assert 99 <= content.remaining <= 100
    assert sorted(await stored_objects(server, place)) == sorted(
        f"some/where/files/{file.expires}-{file.name}" for file in stored
    )


async def test_objects_have_type_disposition_and_cache_control(store: S3Store, server: str, place: str) -> None:
    """The object has its type, an inline disposition with its name, and a private cache control."""
    stored = (await store.put(FILES[1:2]))[0]
    bucket, _, prefix = place.partition("/")
    async with s3_client(server) as client:
        metadata = await client.head_object(
            Bucket=bucket, Key=f"{prefix}/some/where/files/{stored.expires}-{stored.name}"
        )
    assert metadata["ContentType"] == "image/jpeg"
    assert metadata["ContentDisposition"] == f'inline; filename="{stored.name}"'
    assert metadata["CacheControl"] == "private, max-age=100, immutable"


async def test_the_prefix_may_be_empty(server: str) -> None:
    """The prefix may be empty."""
    for store in (f"s3://{BUCKET}", f"s3://{BUCKET}/"):
        async with open_store(config(server, "", store=store)) as store_at_root:
            await store_at_root.put(FILES[:1])
    assert (
        len([key for key in await stored_objects(server, BUCKET) if re.fullmatch(r"files/\d{10}-\w{32}\.png", key)])
        == 2
    )


async def test_another_gateway_accepts_the_links(store: S3Store, server: str, place: str, clock: Clock) -> None:
    """Another gateway on the same bucket accepts the links of this one, and counts its files."""
    link = store.url((await store.put([(b"x" * 15, "image/png")]))[0], "http://h")
    async with s3store.open_store(config(server, place), clock) as second:
        assert (await follow(second, link)).data == b"x" * 15
        await second.put([(b"y" * 10, "image/png")])
    assert list((await stored_objects(server, place)).values()) == [b"y" * 10]


async def test_other_prefixes_are_not_touched(store: S3Store, server: str, place: str) -> None:
    """Objects elsewhere in the bucket are not counted, served or deleted, and links there have another key."""
    async with open_store(config(server, place, store=f"s3://{place}/some")) as other:
        other_file = (await other.put([(b"x" * 20, "image/png")]))[0]
        with pytest.raises(NoSuchFile):
            await follow(store, other.url(other_file, "http://h"))
    await store.put([(b"y" * 20, "image/png")])
    assert sorted((await stored_objects(server, place)).values()) == [b"x" * 20, b"y" * 20]


async def test_links_expire_and_sweeps_delete(store: S3Store, server: str, place: str, clock: Clock) -> None:
    """After its expiry a link fails, and a sweep deletes the file, even one of another gateway."""
    link = store.url((await store.put(FILES))[0], "http://h")
    clock.now += 50
    await store.put([(b"new", "image/png")])
    clock.now += 51
    with pytest.raises(NoSuchFile):
        await follow(store, link)
    async with s3store.open_store(config(server, place), clock) as other:
        assert await other.sweep() == 3
    assert list((await stored_objects(server, place)).values()) == [b"new"]
    assert await store.sweep() == 0


async def test_the_oldest_files_are_deleted_first(store: S3Store, server: str, place: str, clock: Clock) -> None:
    """When the space is used up, the oldest files are deleted; files that can never fit delete nothing."""
    for letter in (b"a", b"b", b"c"):
        await store.put([(letter * 8, "image/png")])
        clock.now += 1
    assert sorted((await stored_objects(server, place)).values()) == [b"b" * 8, b"c" * 8]
    with pytest.raises(StoreFull, match="21 bytes"):
        await store.put([(b"x" * 21, "image/png")])
    assert len(await stored_objects(server, place)) == 2


async def test_a_failed_write_stores_no_image(
    store: S3Store, server: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one image of a request can't be written, none stays; the next request is served."""
    write = store._write

    async def failing(stored: Any, data: bytes) -> None:
        if data == FILES[1][0]:
            raise ClientError({"Error": {"Code": "QuotaExceeded"}}, "PutObject")
        await write(stored, data)

    monkeypatch.setattr(store, "_write", failing)
    with pytest.raises(StoreFull, match="no space left"):
        await store.put(FILES)
    assert await stored_objects(server, place) == {}
    await store.put(FILES[:1])


@pytest.mark.parametrize("name", ["../links.key", "links.key", "", "0" * 32 + ".exe"])
async def test_only_result_names_are_requested(store: S3Store, name: str) -> None:
    """Only a signed name of the right form is requested from S3."""
    for access in ("", f"9999999999-{'0' * 32}"):
        with pytest.raises(NoSuchFile):
            await store.open(name, access)
        with pytest.raises(NoSuchFile):
            await store.redirect_url(name, access, "GET")


async def test_a_failed_listing_is_not_an_empty_one(
    store: S3Store, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal by S3 is not an empty listing: a sweep reports that the store does not work."""
    monkeypatch.setattr(store, "_bucket", "missing")
    assert server
    with pytest.raises(StoreUnavailable):
        await store.sweep()
