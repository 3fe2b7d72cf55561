"""Results in a bucket, before a server of S3 that checks signatures: links, expiry, deletion, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tintype.gateway import s3store
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import NoSuchFile, StartError, StoreFull, StoreUnavailable
from tintype.gateway.stores import opened

from .clock import Clock
from .fakes import PATH, PNG, FakeService, Service, image, running_gateway
from .openai_errors import check_error
from .samples import FILES, LAKE
from .seaweed import BUCKET, OWNER, READER, Relay, free_ports, impostor, ready, s3, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tintype.gateway.files import Content
    from tintype.gateway.s3store import S3Store

pytestmark = pytest.mark.anyio

SOON = 30.0  # seconds in which things that take one must have happened, on a busy machine


@pytest.fixture(scope="module")
async def server(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:  # noqa: ARG001
    with serving(tmp_path_factory.mktemp("weed")) as url:
        await ready(url)
        yield url


@pytest.fixture
def place() -> str:
    """A bucket, and a place in it of its own for each test."""
    return f"{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture(autouse=True)
def owner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The gateway's credentials are the owner's, and nothing of this machine's counts."""
    as_user(monkeypatch, OWNER)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


def as_user(monkeypatch: pytest.MonkeyPatch, user: tuple[str, str]) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user[1])


def config(server: str, place: str, **changes: Any) -> GatewayConfig:
    usual = {"rest": "127.0.0.1:0", "store": f"s3://{place}/some/where", "store_endpoint": server, "timeout": 20}
    return GatewayConfig(**(usual | {"url_ttl": 100, "store_bytes": 20} | changes))


@pytest.fixture
def clock() -> Clock:
    return Clock(time.time())


@pytest.fixture
async def store(server: str, place: str, clock: Clock) -> AsyncIterator[S3Store]:
    async with s3store.opened(config(server, place), clock) as store:
        yield store


async def follow(store: S3Store, link: str) -> Content:
    access, name = link.split("/")[-2:]
    return await store.open(name, access)


async def kept(server: str, place: str) -> dict[str, bytes]:
    """Everything in a place but the key of the links, seen by a stranger; names begin at the place."""
    bucket, _, prefix = place.partition("/")
    async with s3(server) as client:
        listing = await client.list_objects_v2(Bucket=bucket, Prefix=prefix)
        keys = [found["Key"] for found in listing.get("Contents", ()) if not found["Key"].endswith("links.key")]
        files = [await (await client.get_object(Bucket=bucket, Key=key))["Body"].read() for key in keys]
    return {key.removeprefix(f"{prefix}/"): file for key, file in zip(keys, files, strict=True)}


async def test_put_and_open(store: S3Store, server: str, place: str) -> None:
    """What is put comes back, with its type; in the bucket it lies below the prefix, under its expiry and name."""
    stored = await store.put(FILES)
    for (data, mime_type), one in zip(FILES, stored, strict=True):
        content = await follow(store, store.url(one, "http://h"))
        assert (content.data, content.mime_type, content.etag) == (data, mime_type, f'"{one.name[:32]}"')
        assert 99 <= content.remaining <= 100
    assert sorted(await kept(server, place)) == sorted(f"some/where/files/{one.expires}-{one.name}" for one in stored)


async def test_objects(store: S3Store, server: str, place: str) -> None:
    """S3 itself knows the type, that it is to be shown and under which name, and that no cache may share it."""
    stored = (await store.put(FILES[1:2]))[0]
    bucket, _, prefix = place.partition("/")
    async with s3(server) as client:
        found = await client.head_object(Bucket=bucket, Key=f"{prefix}/some/where/files/{stored.expires}-{stored.name}")
    assert found["ContentType"] == "image/jpeg"
    assert found["ContentDisposition"] == f'inline; filename="{stored.name}"'
    assert found["CacheControl"] == "private, max-age=100, immutable"


async def test_no_prefix(server: str) -> None:
    """A bucket may be all ours."""
    for store in (f"s3://{BUCKET}", f"s3://{BUCKET}/"):
        async with opened(config(server, "", store=store)) as whole:
            await whole.put(FILES[:1])
    assert len([key for key in await kept(server, BUCKET) if re.fullmatch(r"files/\d{10}-\w{32}\.png", key)]) == 2


async def test_restart(store: S3Store, server: str, place: str, clock: Clock) -> None:
    """Another gateway on the same bucket honours the links of this one, and counts its files."""
    link = store.url((await store.put([(b"x" * 15, "image/png")]))[0], "http://h")
    async with s3store.opened(config(server, place), clock) as again:
        assert (await follow(again, link)).data == b"x" * 15
        await again.put([(b"y" * 10, "image/png")])
    assert list((await kept(server, place)).values()) == [b"y" * 10]


async def test_other_prefix(store: S3Store, server: str, place: str) -> None:
    """What lies elsewhere in the bucket is not counted, not served, not deleted, and has links of its own."""
    async with opened(config(server, place, store=f"s3://{place}/some")) as other:
        theirs = (await other.put([(b"x" * 20, "image/png")]))[0]
        with pytest.raises(NoSuchFile):
            await follow(store, other.url(theirs, "http://h"))
    await store.put([(b"y" * 20, "image/png")])
    assert sorted((await kept(server, place)).values()) == [b"x" * 20, b"y" * 20]


async def test_expiry(store: S3Store, server: str, place: str, clock: Clock) -> None:
    """After its time a link is dead, and sweeping really deletes, whoever put it there."""
    link = store.url((await store.put(FILES))[0], "http://h")
    clock.now += 50
    await store.put([(b"new", "image/png")])
    clock.now += 51
    with pytest.raises(NoSuchFile):
        await follow(store, link)
    async with s3store.opened(config(server, place), clock) as other:
        assert await other.sweep() == 3
    assert list((await kept(server, place)).values()) == [b"new"]
    assert await store.sweep() == 0


async def test_capacity(store: S3Store, server: str, place: str, clock: Clock) -> None:
    """When the space is used up the oldest go; what never fits is refused, and costs nobody his files."""
    for letter in (b"a", b"b", b"c"):
        await store.put([(letter * 8, "image/png")])
        clock.now += 1
    assert sorted((await kept(server, place)).values()) == [b"b" * 8, b"c" * 8]
    with pytest.raises(StoreFull, match="21 bytes"):
        await store.put([(b"x" * 21, "image/png")])
    assert len(await kept(server, place)) == 2


async def test_all_or_none(store: S3Store, server: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one picture of a request can't be written, none of it stays; the next request is served."""
    write = store._write

    async def failing(stored: Any, data: bytes) -> None:
        if data == FILES[1][0]:
            raise ClientError({"Error": {"Code": "QuotaExceeded"}}, "PutObject")
        await write(stored, data)

    monkeypatch.setattr(store, "_write", failing)
    with pytest.raises(StoreFull, match="no space left"):
        await store.put(FILES)
    assert await kept(server, place) == {}
    await store.put(FILES[:1])


@pytest.mark.parametrize("name", ["../links.key", "links.key", "", "0" * 32 + ".exe"])
async def test_only_names_of_ours(store: S3Store, name: str) -> None:
    """Anything but a signed name of ours is never asked for."""
    for access in ("", f"9999999999-{'0' * 32}"):
        with pytest.raises(NoSuchFile):
            await store.open(name, access)
        with pytest.raises(NoSuchFile):
            await store.elsewhere(name, access, "GET")


class TestStart:
    @pytest.mark.parametrize(
        ("user", "why"),
        [
            (("owner", "wrong"), "the secret key is not the one of the access key"),
            (("nobody", "x"), "the access key is not known"),
            (READER, "may not list, read, write and delete there"),
            (("", ""), "no credentials: set AWS_ACCESS_KEY_ID"),
        ],
        ids=["secret", "key", "rights", "none"],
    )
    async def test_credentials(
        self, server: str, place: str, monkeypatch: pytest.MonkeyPatch, user: tuple[str, str], why: str
    ) -> None:
        """Credentials that are missing, wrong, or may not do all that will be done, are told of at start."""
        as_user(monkeypatch, user)
        with pytest.raises(StartError, match=f"^the store s3://{place}/some/where can't be used: .*{why}"):
            await self.start(config(server, place))

    async def test_no_bucket(self, server: str) -> None:
        """A bucket that is not there is not made by us."""
        with pytest.raises(StartError, match=r"there is no such bucket: make it first$"):
            await self.start(config(server, "missing"))

    async def test_nobody_there(self) -> None:
        """An endpoint where nobody listens is told of."""
        with pytest.raises(StartError, match="nothing answers at the endpoint"):
            await self.start(config(f"http://127.0.0.1:{free_ports(1)[0]}", "bucket"))

    async def test_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An endpoint that never answers is not waited for long."""
        monkeypatch.setattr(s3store, "SILENCE", 0.2)

        async def ignore(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            while await reader.read(2**16):
                pass

        async with impostor(ignore) as url:
            with pytest.raises(StartError, match="the endpoint is silent"):
                await self.start(config(url, "bucket"))

    async def test_drip(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor one that always has one byte more to say."""
        monkeypatch.setattr(s3store, "PATIENCE", 0.5)

        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n<")
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

        async with impostor(drip) as url:
            with pytest.raises(StartError, match="it takes longer than"):
                await self.start(config(url, "bucket"))

    async def test_bad_key(self, server: str, place: str) -> None:
        """A key of the links that was cut short is not used; the message says what to do."""
        bucket, _, prefix = place.partition("/")
        async with s3(server) as client:
            await client.put_object(Bucket=bucket, Key=f"{prefix}/some/where/links.key", Body=b"short")
        with pytest.raises(StartError, match=r"some/where/links\.key must hold 32 bytes, not 5: delete it"):
            await self.start(config(server, place))

    async def test_gateways_start_together(self, server: str, place: str) -> None:
        """Of several gateways that start on a new bucket, one makes the key."""
        links = await asyncio.gather(*(self.start(config(server, place)) for _ in range(5)))
        assert len(set(links)) == 1

    async def test_longest(self, server: str, place: str) -> None:
        """Links that S3 itself guards live a week at most."""
        with pytest.raises(StartError, match="url_ttl must be at most 604800 with store_public"):
            await self.start(config(server, place, store_public=server, url_ttl=700_000))

    async def start(self, settings: GatewayConfig) -> str:
        """Open the store and return what it makes of a file's name."""
        async with opened(settings) as store:
            return store.url(s3store.NOBODY, "")


@asynccontextmanager
async def gateway(service: Service, server: str, place: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = {"grpc": service.address, "url_ttl": 3600, "store_bytes": 10**6} | changes
    async with running_gateway(config(server, place, **settings)) as client:
        yield client


async def link_of(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post(PATH, json={"prompt": "x", **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["url"])


def drawing_lakes(fake: FakeService) -> None:
    """Let the service draw a real picture."""
    behave = fake.behave

    async def lake(request: Any, context: Any) -> Any:
        async for event in behave(request, context):
            yield image(0, data=LAKE) if event.HasField("image") else event

    fake.behave = lake


class TestGateway:
    async def test_links(self, service: Service, server: str, place: str) -> None:
        """Links are as those to a folder: they end in the type, work for GET, HEAD and whoever sends a key along."""
        async with gateway(service, server, place) as client:
            link = await link_of(client, output_format="jpeg")
            assert link.startswith(f"{client.base_url}".rstrip("/") + "/files/")
            assert link.endswith(".jpg")
            for headers in ({}, {"authorization": "Bearer x"}):
                got = await client.get(link, headers=headers)
                assert (got.content, got.headers["content-type"]) == (PNG + b"\0", "image/jpeg")
            head = await client.head(link)
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG) + 1))

    async def test_restart(self, service: Service, server: str, place: str) -> None:
        """A link outlives the gateway that made it, and works at another one."""
        async with gateway(service, server, place) as client:
            path = httpx.URL(await link_of(client)).path
        async with gateway(service, server, place) as client:
            assert (await client.get(path)).content == PNG + b"\0"

    async def test_own_link(self, service: Service, fake: FakeService, server: str, place: str) -> None:
        """What was answered as a link can be started from by that link."""
        drawing_lakes(fake)
        async with gateway(service, server, place) as client:
            await link_of(client, image=await link_of(client))
        assert fake.requests[1].image == LAKE

    async def test_expiry(self, service: Service, server: str, place: str) -> None:
        """After its time a link is dead, and the object is gone without anybody asking."""
        async with gateway(service, server, place, url_ttl=0.5) as client:
            link = await link_of(client)
            async with asyncio.timeout(SOON):
                while await kept(server, place):  # noqa: ASYNC110 - a bucket has no event
                    await asyncio.sleep(0.1)
            assert (await client.get(link)).status_code == 404

    async def test_out_of_order(self, service: Service, server: str, place: str) -> None:
        """While S3 is away, requests with links fail, and say so to clients that would repeat; others are served."""
        relay = Relay(server)
        await relay.lay()
        try:
            async with gateway(service, relay.url, place) as client:
                link = await link_of(client)
                await relay.cut()
                answer = await client.post(PATH, json={"prompt": "x"})
                check_error(answer, 503, "server_error", "storage_unavailable", None)
                assert answer.headers["x-should-retry"] == "false"
                assert (await client.get(link)).status_code == 503
                plain = await client.post(PATH, json={"prompt": "x", "response_format": "b64_json"})
                assert base64.b64decode(plain.json()["data"][0]["b64_json"]) == PNG + b"\0"
                await relay.lay()
                assert (await client.get(link)).status_code == 200
                assert (await client.get(await link_of(client))).status_code == 200
        finally:
            await relay.cut()

    async def test_quota(self, service: Service, server: str, place: str) -> None:
        """A bucket that is full is 507 for that request."""
        relay = Relay(server)
        await relay.lay()
        try:
            async with gateway(service, relay.url, place) as client:
                body = b"<Error><Code>QuotaExceeded</Code></Error>"
                relay.instead = b"HTTP/1.1 403 F\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                answer = await client.post(PATH, json={"prompt": "x"})
                assert "b64_json" in check_error(answer, 507, "server_error", "insufficient_storage", None)
                assert answer.headers["x-should-retry"] == "false"
        finally:
            await relay.cut()


class TestPublic:
    """Where clients reach S3, links send them there."""

    async def test_sent_on(self, service: Service, server: str, place: str) -> None:
        """GET and HEAD are each sent to a URL made for them; it ends in the type before its query."""
        async with gateway(service, server, place, store_public=server) as client:
            link = await link_of(client)
            sent = await client.get(link)
            assert (sent.status_code, sent.headers["cache-control"]) == (307, "no-store")
            there = httpx.URL(sent.headers["location"])
            assert str(there).startswith(f"{server}/{place}/some/where/files/")
            assert there.path.endswith(".png")
            assert 3500 < int(there.params["X-Amz-Expires"]) <= 3600
            got = await client.get(link, follow_redirects=True, headers={"authorization": "Bearer x"})
            assert (got.url.port, got.content) == (there.port, PNG + b"\0")
            assert got.headers["content-type"] == "image/png"
            head = await client.head(link, follow_redirects=True)
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG) + 1))

    async def test_guarded(self, service: Service, server: str, place: str) -> None:
        """S3 lets nobody in whose URL was changed, and nobody after its time."""
        async with gateway(service, server, place, store_public=server, url_ttl=2) as client:
            links = [await link_of(client) for _ in range(2)]
            one, other = [(await client.get(link)).headers["location"] for link in links]
            query = other.partition("?")[2]
            assert (await client.get(f"{one.partition('?')[0]}?{query}")).status_code == 403
            assert (await client.get(one.partition("?")[0])).status_code == 403
            async with asyncio.timeout(SOON):
                while (await client.get(one)).status_code == 200:  # noqa: ASYNC110 - nor has S3's clock
                    await asyncio.sleep(0.1)
            assert (await client.get(links[0])).status_code == 404

    async def test_own_links(self, service: Service, fake: FakeService, server: str, place: str) -> None:
        """A picture can be started from by its link, and by the URL that the link leads to."""
        drawing_lakes(fake)
        async with gateway(service, server, place, store_public=server) as client:
            link = await link_of(client)
            await link_of(client, image=link)
            await link_of(client, image=(await client.get(link)).headers["location"])
        assert [request.image for request in fake.requests[1:]] == [LAKE, LAKE]


async def test_failures_are_told_apart(store: S3Store, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What S3 refuses is no empty answer: sweeping, too, says that the store is out of order."""
    monkeypatch.setattr(store, "_bucket", "missing")
    assert server
    with pytest.raises(StoreUnavailable):
        await store.sweep()
