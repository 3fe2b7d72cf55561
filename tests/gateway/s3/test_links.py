"""Links to results in a bucket, over HTTP: through the gateway, and redirected to S3."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.gateway.bucket import config, stored_objects
from tests.support.gateway.fakes import PATH, PNG, FakeService, Service, image, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import LAKE
from tests.support.gateway.seaweed import Relay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


pytestmark = [pytest.mark.anyio, pytest.mark.slow]

TIMEOUT = 30.0  # seconds in which things that take one must have happened, on a busy machine


@asynccontextmanager
async def gateway(service: Service, server: str, place: str, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = {"grpc": service.address, "url_ttl": 3600, "store_bytes": 10**6} | changes
    with TemporaryDirectory() as data:  # for its databases
        async with running_gateway(config(server, place, data=Path(data), **settings)) as client:
            yield client


async def link_of(client: httpx.AsyncClient, **body: Any) -> str:
    answer = await client.post(PATH, json={"prompt": "x", **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["data"][0]["url"])


def return_lakes(fake: FakeService) -> None:
    """Let the service return a real image."""
    behave = fake.behave

    async def lake(request: Any, context: Any) -> Any:
        async for event in behave(request, context):
            yield image(0, data=LAKE) if event.HasField("image") else event

    fake.behave = lake


class TestGateway:
    async def test_links_work_as_for_a_folder(self, service: Service, server: str, place: str) -> None:
        """Links work as for a folder: they end in the type, and work for GET, HEAD and requests with a key."""
        async with gateway(service, server, place) as client:
            link = await link_of(client, output_format="jpeg")
            assert link.startswith(f"{client.base_url}".rstrip("/") + "/files/")
            assert link.endswith(".jpg")
            for headers in ({}, {"authorization": "Bearer x"}):
                response = await client.get(link, headers=headers)
                assert (response.content, response.headers["content-type"]) == (PNG + b"\0", "image/jpeg")
            head = await client.head(link)
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG) + 1))

    async def test_links_work_after_a_restart(self, service: Service, server: str, place: str) -> None:
        """A link works after a restart, and at another gateway."""
        async with gateway(service, server, place) as client:
            path = httpx.URL(await link_of(client)).path
        async with gateway(service, server, place) as client:
            assert (await client.get(path)).content == PNG + b"\0"

    async def test_gateways_share_results(self, service: Service, fake: FakeService, server: str, place: str) -> None:
        """Of two gateways with one bucket, each serves the other's links, and takes them as start images."""
        return_lakes(fake)
        async with gateway(service, server, place) as first, gateway(service, server, place) as second:
            for one, other in ((first, second), (second, first)):
                path = httpx.URL(await link_of(one)).path
                assert (await other.get(path)).content == LAKE
                await link_of(other, image=f"{other.base_url}".rstrip("/") + path)
        assert [request.image for request in fake.requests[1::2]] == [LAKE, LAKE]

    async def test_result_links_are_start_images(
        self, service: Service, fake: FakeService, server: str, place: str
    ) -> None:
        """A result can be a start image by its link."""
        return_lakes(fake)
        async with gateway(service, server, place) as client:
            await link_of(client, image=await link_of(client))
        assert fake.requests[1].image == LAKE

    async def test_links_expire_and_objects_are_deleted(self, service: Service, server: str, place: str) -> None:
        """After its expiry a link fails, and the object is deleted without a request."""
        async with gateway(service, server, place, url_ttl=0.5) as client:
            link = await link_of(client)
            async with asyncio.timeout(TIMEOUT):
                while await stored_objects(server, place):  # noqa: ASYNC110 - a bucket has no event
                    await asyncio.sleep(0.1)
            assert (await client.get(link)).status_code == 404

    async def test_an_unavailable_s3_affects_only_links(self, service: Service, server: str, place: str) -> None:
        """While S3 is unavailable, requests with links fail without retries; others are served."""
        relay = Relay(server)
        await relay.start()
        try:
            async with gateway(service, relay.url, place) as client:
                link = await link_of(client)
                await relay.stop()
                answer = await client.post(PATH, json={"prompt": "x"})
                check_error(answer, 503, "server_error", "storage_unavailable", None)
                assert answer.headers["x-should-retry"] == "false"
                assert (await client.get(link)).status_code == 503
                plain = await client.post(PATH, json={"prompt": "x", "response_format": "b64_json"})
                assert base64.b64decode(plain.json()["data"][0]["b64_json"]) == PNG + b"\0"
                await relay.start()
                assert (await client.get(link)).status_code == 200
                assert (await client.get(await link_of(client))).status_code == 200
        finally:
            await relay.stop()

    async def test_a_full_bucket_gives_507(self, service: Service, server: str, place: str) -> None:
        """A full bucket gives 507 for that request."""
        relay = Relay(server)
        await relay.start()
        try:
            async with gateway(service, relay.url, place) as client:
                body = b"<Error><Code>QuotaExceeded</Code></Error>"
                relay.response = b"HTTP/1.1 403 F\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
                answer = await client.post(PATH, json={"prompt": "x"})
                assert "b64_json" in check_error(answer, 507, "server_error", "insufficient_storage", None)
                assert answer.headers["x-should-retry"] == "false"
        finally:
            await relay.stop()


class TestPublic:
    """If clients can reach S3, links redirect there."""

    async def test_get_and_head_are_redirected(self, service: Service, server: str, place: str) -> None:
        """GET and HEAD are each redirected to a URL signed for them, which ends in the type before its query."""
        async with gateway(service, server, place, store_public=server) as client:
            link = await link_of(client)
            redirect = await client.get(link)
            assert (redirect.status_code, redirect.headers["cache-control"]) == (307, "no-store")
            location = httpx.URL(redirect.headers["location"])
            assert str(location).startswith(f"{server}/{place}/some/where/files/")
            assert location.path.endswith(".png")
            assert 3500 < int(location.params["X-Amz-Expires"]) <= 3600
            response = await client.get(link, follow_redirects=True, headers={"authorization": "Bearer x"})
            assert (response.url.port, response.content) == (location.port, PNG + b"\0")
            assert response.headers["content-type"] == "image/png"
            head = await client.head(link, follow_redirects=True)
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG) + 1))

    async def test_s3_refuses_changed_and_expired_urls(self, service: Service, server: str, place: str) -> None:
        """S3 refuses a changed URL, and any URL after its expiry."""
        async with gateway(service, server, place, store_public=server, url_ttl=5) as client:
            links = [await link_of(client) for _ in range(2)]
            first_url, second_url = [(await client.get(link)).headers["location"] for link in links]
            query = second_url.partition("?")[2]
            assert (await client.get(f"{first_url.partition('?')[0]}?{query}")).status_code == 403
            assert (await client.get(first_url.partition("?")[0])).status_code == 403
            async with asyncio.timeout(TIMEOUT):
                while (await client.get(first_url)).status_code == 200:  # noqa: ASYNC110 - nor has S3's clock
                    await asyncio.sleep(0.1)
            assert (await client.get(links[0])).status_code == 404

    async def test_presigned_urls_are_start_images(
        self, service: Service, fake: FakeService, server: str, place: str
    ) -> None:
        """A result can be a start image by its link, and by the URL that the link redirects to."""
        return_lakes(fake)
        async with gateway(service, server, place, store_public=server) as client:
            link = await link_of(client)
            await link_of(client, image=link)
            await link_of(client, image=(await client.get(link)).headers["location"])
        assert [request.image for request in fake.requests[1:]] == [LAKE, LAKE]
