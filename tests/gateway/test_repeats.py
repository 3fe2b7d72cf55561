"""Requests that come twice under one key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from tintype.gateway.body import Body
from tintype.gateway.denials import KeyReused
from tintype.gateway.generation import Made
from tintype.gateway.repeats import Repeats

from .fakes import FakeService, Refusal
from .test_app import PATH, check_error
from .test_limits import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

pytestmark = pytest.mark.anyio


def making(size: int = 1) -> tuple[list[int], Callable[[], Coroutine[Any, Any, Made]]]:
    """Some work, and how often it was done."""
    done: list[int] = []

    async def work() -> Made:
        done.append(1)
        await asyncio.sleep(0)
        return Made(Body([bytes(size)]), {})

    return done, work


class TestKept:
    async def test_again(self) -> None:
        """The second gets the first's answer, at once or while it is being made."""
        repeats, (done, work) = Repeats(100), making()
        first, second = await asyncio.gather(repeats.once("k", b"a", work), repeats.once("k", b"a", work))
        third = await repeats.once("k", b"a", work)
        assert first[0] is second[0] is third[0]
        assert [first[1], second[1], third[1]] == [False, True, True]
        assert len(done) == 1

    async def test_streams(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A stream is always made anew, as the documentation says."""
        for _ in range(2):
            answer = await gateway.post(
                PATH, json={"prompt": "x", "stream": True}, headers={"idempotency-key": "stream"}
            )
            assert answer.text.endswith("data: [DONE]\n\n")
            assert "idempotent-replayed" not in answer.headers
        assert len(fake.requests) == 2

    async def test_other_body(self) -> None:
        """A key stands for one body."""
        repeats, (_, work) = Repeats(100), making()
        await repeats.once("k", b"a", work)
        with pytest.raises(KeyReused):
            await repeats.once("k", b"b", work)

    async def test_error(self) -> None:
        """An error is told, and the next one tries again."""
        repeats, (done, work) = Repeats(100), making()

        async def fails() -> Made:
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            await repeats.once("k", b"a", fails)
        assert (await repeats.once("k", b"b", work))[1] is False
        assert len(done) == 1

    async def test_expiry(self) -> None:
        """After its time a key is as good as new."""
        clock = Clock()
        repeats, (done, work) = Repeats(10, clock=clock), making()
        await repeats.once("k", b"a", work)
        clock.now += 11
        await repeats.once("k", b"b", work)
        assert len(done) == 2

    async def test_room(self) -> None:
        """The oldest answers make room, and one that is too large is not kept at all."""
        repeats, (done, work) = Repeats(100, capacity=10), making(4)
        for key in "abc":
            await repeats.once(key, b"", work)
        assert [(await repeats.once(key, b"", work))[1] for key in "bc"] == [True, True]
        await repeats.once("large", b"", making(11)[1])
        await asyncio.sleep(0)
        assert not repeats._kept
        assert len(done) == 3

    async def test_first_leaves(self) -> None:
        """What was begun goes on without its client, for the one who comes back."""
        repeats, go = Repeats(100), asyncio.Event()

        async def work() -> Made:
            await go.wait()
            return Made(Body([b"x"]), {})

        first = asyncio.create_task(repeats.once("k", b"a", work))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        assert (await repeats.once("k", b"a", work))[1] is True


class TestOverHttp:
    async def test_again(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The repeat has the same body and says that it is one; nothing is made twice."""
        body, key = {"prompt": "x", "model": "dall-e-3", "odd": 1}, {"idempotency-key": "again"}
        first = await gateway.post(PATH, json=body, headers=key)
        second = await gateway.post(PATH, json=body, headers=key)
        assert first.content == second.content
        assert second.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert second.headers["x-tintype-ignored"] == first.headers["x-tintype-ignored"] == "odd"
        assert len(fake.requests) == 1

    async def test_others(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """The same key of somebody else, or elsewhere, is another one."""
        for path, who in ((PATH, "Bearer a"), (PATH, "Bearer b"), ("/images/generations", "Bearer a")):
            answer = await gateway.post(
                path, json={"prompt": "x"}, headers={"idempotency-key": "o", "authorization": who}
            )
            assert answer.status_code == 200
        assert len(fake.requests) == 3

    async def test_other_body(self, gateway: httpx.AsyncClient) -> None:
        """Another body under a key is an error that no client repeats."""
        await gateway.post(PATH, json={"prompt": "x"}, headers={"idempotency-key": "one"})
        answer = await gateway.post(PATH, json={"prompt": "y"}, headers={"idempotency-key": "one"})
        check_error(answer, 422, "invalid_request_error", "idempotency_key_reused", None)

    async def test_client_gone(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Who was cut off and comes back gets what was being made."""
        behave, go = fake.behave, asyncio.Event()

        async def waits(request: Any, context: Any) -> Any:
            await go.wait()
            async for event in behave(request, context):
                yield event

        fake.behave = waits
        key = {"idempotency-key": "cut off"}
        with pytest.raises(httpx.ReadTimeout):
            await gateway.post(PATH, json={"prompt": "x"}, headers=key, timeout=0.3)
        go.set()
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers=key)
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
        assert len(fake.requests) == 1
        assert not fake.cancelled.is_set()

    async def test_errors(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """A failure is not kept: the same key succeeds later."""
        behave, key = fake.behave, {"idempotency-key": "later"}
        fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL")
        assert (await gateway.post(PATH, json={"prompt": "x"}, headers=key)).status_code == 429
        fake.behave = behave
        assert (await gateway.post(PATH, json={"prompt": "x"}, headers=key)).status_code == 200

    async def test_long_key(self, gateway: httpx.AsyncClient) -> None:
        """A key that is none is refused."""
        answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"idempotency-key": "k" * 256})
        assert "at most 255" in check_error(answer, 400, "invalid_request_error", None, None)
