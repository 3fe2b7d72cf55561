"""Repeated requests with an idempotency key."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.clock import Clock
from tests.support.gateway.fakes import (
    PATH,
    FakeService,
    Refusal,
    disconnect_once_started,
    failing_after_first_event,
    image,
    images_with_previews,
    preview_event,
)
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import B64
from tintype.gateway.access.rejections import KeyReused
from tintype.gateway.errors import ImageNotFetched
from tintype.gateway.http.response_body import JsonBody
from tintype.gateway.requests import idempotency
from tintype.gateway.requests.idempotency import ENTRY_OVERHEAD, IdempotencyCache
from tintype.gateway.requests.reply import Reply
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    import httpx

pytestmark = pytest.mark.anyio


def counted_work(size: int = 1) -> tuple[list[int], Callable[[], Coroutine[Any, Any, Reply]]]:
    """Return some work, and a list with an entry for each time it ran."""
    runs: list[int] = []

    async def work() -> Reply:
        runs.append(1)
        await asyncio.sleep(0)
        return Reply(JsonBody([bytes(size)]), {})

    return runs, work


class TestKept:
    async def test_a_repeated_request_gets_the_first_reply(self) -> None:
        """A repeated request gets the first reply, after or during the first request."""
        cache, (runs, work) = IdempotencyCache(100), counted_work()
        first, second = await asyncio.gather(cache.get_or_run("k", b"a", work), cache.get_or_run("k", b"a", work))
        third = await cache.get_or_run("k", b"a", work)
        assert first[0] is second[0] is third[0]
        assert [first[1], second[1], third[1]] == [False, True, True]
        assert len(runs) == 1

    async def test_another_body_is_refused(self) -> None:
        """A key belongs to one body."""
        cache, (_, work) = IdempotencyCache(100), counted_work()
        await cache.get_or_run("k", b"a", work)
        with pytest.raises(KeyReused):
            await cache.get_or_run("k", b"b", work)

    async def test_errors_are_not_kept(self) -> None:
        """An error is raised, and the next request tries again."""
        cache, (runs, work) = IdempotencyCache(100), counted_work()

        async def fails() -> Reply:
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await cache.get_or_run("k", b"a", fails)
        assert (await cache.get_or_run("k", b"b", work))[1] is False
        assert len(runs) == 1

    async def test_expired_keys_can_be_reused(self) -> None:
        """After its lifetime a key can be used again."""
        clock = Clock()
        cache, (runs, work) = IdempotencyCache(10, clock=clock), counted_work()
        await cache.get_or_run("k", b"a", work)
        clock.now += 11
        await cache.get_or_run("k", b"b", work)
        assert len(runs) == 2

    async def test_the_oldest_replies_are_dropped_first(self) -> None:
        """The oldest replies are dropped first, and a reply that is too large is not kept."""
        cache, (runs, work) = IdempotencyCache(100, capacity=2 * ENTRY_OVERHEAD + 10), counted_work(4)
        for key in "abc":
            await cache.get_or_run(key, b"", work)
        assert [(await cache.get_or_run(key, b"", work))[1] for key in "bc"] == [True, True]
        await cache.get_or_run("large", b"", counted_work(ENTRY_OVERHEAD + 11)[1])
        await asyncio.sleep(0)
        assert not cache._entries
        assert len(runs) == 3

    async def test_work_continues_after_a_disconnect(self) -> None:
        """Work goes on after its client has disconnected."""
        cache, proceed = IdempotencyCache(100), asyncio.Event()

        async def work() -> Reply:
            await proceed.wait()
            return Reply(JsonBody([b"x"]), {})

        first = asyncio.create_task(cache.get_or_run("k", b"a", work))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        proceed.set()
        assert (await cache.get_or_run("k", b"a", work))[1] is True


class TestOverHttp:
    async def test_a_repeated_request_is_marked_as_replayed(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A repeated request gets the same body and a header that says so; no image is generated twice."""
        body, key = {"prompt": "x", "model": "dall-e-3", "odd": 1}, {"idempotency-key": "again"}
        first = await gateway.post(PATH, json=body, headers=key)
        second = await gateway.post(PATH, json=body, headers=key)
        assert first.content == second.content
        assert second.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert second.headers["x-tintype-ignored"] == first.headers["x-tintype-ignored"] == "odd"
        assert len(fake.requests) == 1

    async def test_keys_of_other_callers_and_paths_are_independent(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """The same key from another caller, or on another path, is independent."""
        for path, authorization in ((PATH, "Bearer a"), (PATH, "Bearer b"), ("/images/generations", "Bearer a")):
            answer = await gateway.post(
                path, json={"prompt": "x"}, headers={"idempotency-key": "o", "authorization": authorization}
            )
            assert answer.status_code == 200
        assert len(fake.requests) == 3

    async def test_another_body_gives_422(self, gateway: httpx.AsyncClient) -> None:
        """Another body under a key is an error that clients do not retry."""
        await gateway.post(PATH, json={"prompt": "x"}, headers={"idempotency-key": "one"})
        answer = await gateway.post(PATH, json={"prompt": "y"}, headers={"idempotency-key": "one"})
        check_error(answer, 422, "invalid_request_error", "idempotency_key_reused", None)

    async def test_a_client_that_reconnects_gets_the_result(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A client that reconnects gets the result of the running request."""
        behave, proceed = fake.behave, asyncio.Event()

        async def wait(request: Any, context: Any) -> Any:
            await proceed.wait()
            async for event in behave(request, context):
                yield event

        fake.behave = wait
        key = {"idempotency-key": "cut off"}
        await disconnect_once_started(gateway.post(PATH, json={"prompt": "x"}, headers=key), fake)
        proceed.set()
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers=key)
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
        assert len(fake.requests) == 1
        assert not fake.cancelled.is_set()

    async def test_a_repeated_request_does_not_read_its_image(
        self, gateway: httpx.AsyncClient, fake: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A repeated request needs only its key: the start image may no longer exist."""
        body, key = {"prompt": "x", "image": B64}, {"idempotency-key": "gone"}
        first = await gateway.post(PATH, json=body, headers=key)

        async def fail_to_read(*_: Any) -> bytes:
            raise ImageNotFetched("image", "is not there")

        monkeypatch.setattr("tintype.gateway.uploads.reading.ImageReader.read", fail_to_read)
        assert (await gateway.post(PATH, json=body, headers=key)).content == first.content
        assert len(fake.requests) == 1

    async def test_failures_are_not_kept_over_http(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A failure is not kept: the same key can succeed later."""
        behave, key = fake.behave, {"idempotency-key": "later"}
        fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL")
        assert (await gateway.post(PATH, json={"prompt": "x"}, headers=key)).status_code == 429
        fake.behave = behave
        assert (await gateway.post(PATH, json={"prompt": "x"}, headers=key)).status_code == 200

    async def test_large_bodies_are_hashed_in_a_thread(
        self, gateway: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A large body is hashed in a thread, and delays no other request."""
        hashed: list[tuple[int, bool]] = []

        def record_hash(data: bytes) -> Any:
            hashed.append((len(data), threading.current_thread() is threading.main_thread()))
            return hashlib.sha256(data)

        monkeypatch.setattr(idempotency, "hashlib", SimpleNamespace(sha256=record_hash))
        body = b'{"prompt": "x"}' + b" " * 90_000
        headers = {"idempotency-key": "hashed", "content-type": "application/json"}
        assert (await gateway.post(PATH, content=body, headers=headers)).status_code == 200
        assert (len(body), False) in hashed
        assert all(size < 1000 for size, on_the_loop in hashed if on_the_loop)

    async def test_a_long_key_is_refused(self, gateway: httpx.AsyncClient) -> None:
        """An invalid key is refused."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"idempotency-key": "k" * 256})
        assert "at most 255" in check_error(answer, 400, "invalid_request_error", None, None)


STREAM = {"prompt": "x", "stream": True}


class TestStreams:
    async def test_a_repeated_stream_has_the_finished_images(
        self, gateway: httpx.AsyncClient, fake: FakeService
    ) -> None:
        """A repeated stream has the finished images, byte for byte, and no image is generated twice."""
        fake.behave = images_with_previews(fake)
        body, key = STREAM | {"n": 2, "partial_images": 2, "model": "dall-e-3", "odd": 1}, {"idempotency-key": "stream"}
        progress = {"x-tintype-progress": "true"}
        first = await gateway.post(PATH, json=body, headers=key | progress)
        second, third = [await gateway.post(PATH, json=body, headers=key) for _ in range(2)]
        kept = [block for block in first.text.split("\n\n") if ".completed" in block]
        assert second.text == third.text == "\n\n".join([*kept, "data: [DONE]", ""])
        assert first.text.count("partial_image\n") == 4
        assert first.text.count("event: tintype.progress\n") == 4
        assert len(kept) == 2
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        for name in ("content-type", "cache-control", "x-tintype-ignored", "x-tintype-model"):
            assert second.headers[name] == first.headers[name]
        assert len(fake.requests) == 1

    async def test_a_repeated_request_joins_a_running_stream(
        self, gateway: httpx.AsyncClient, fake: FakeService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that reconnects to a running stream gets the finished images and keep-alive comments."""
        monkeypatch.setattr("tintype.gateway.requests.streaming.KEEP_ALIVE", 0.05)
        proceed = asyncio.Event()

        async def behave(*_: Any) -> AsyncIterator[pb.StreamImagesResponse]:
            yield image(0)
            await proceed.wait()
            yield preview_event(1, 0)
            yield image(1)
            yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

        fake.behave = behave
        arguments: dict[str, Any] = {
            "json": STREAM | {"n": 2, "partial_images": 1},
            "headers": {"idempotency-key": "stream cut off"},
        }
        async with gateway.stream("POST", PATH, **arguments) as answer:
            await anext(answer.aiter_lines())
        async with gateway.stream("POST", PATH, **arguments) as answer:
            assert answer.headers["idempotent-replayed"] == "true"
            lines = answer.aiter_lines()
            assert await anext(lines) == "event: image_generation.completed"
            while await anext(lines) != ": ping":
                pass
            proceed.set()
            rest = [line async for line in lines if line not in ("", ": ping")]
        assert [line[:40] for line in rest][::2] == ["event: image_generation.completed", "data: [DONE]"]
        assert len(fake.requests) == 1
        assert not fake.cancelled.is_set()

    async def test_failed_streams_are_not_kept(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A failure before or after the first event is not kept."""
        behave = fake.behave
        arguments: dict[str, Any] = {"json": STREAM, "headers": {"idempotency-key": "stream later"}}
        full = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL")
        fake.behave = full
        assert (await gateway.post(PATH, **arguments)).status_code == 429
        fake.behave = failing_after_first_event(full)
        assert (await gateway.post(PATH, **arguments)).text.startswith("event: error\n")
        fake.behave = behave
        answer = await gateway.post(PATH, **arguments)
        assert "idempotent-replayed" not in answer.headers
        assert answer.text.startswith("event: image_generation.completed\n")

    async def test_the_same_request_without_stream_is_another(self, gateway: httpx.AsyncClient) -> None:
        """The same request without `stream` is another request."""
        key = {"idempotency-key": "stream or not"}
        await gateway.post(PATH, json=STREAM, headers=key)
        answer = await gateway.post(PATH, json=STREAM | {"stream": False}, headers=key)
        check_error(answer, 422, "invalid_request_error", "idempotency_key_reused", None)
