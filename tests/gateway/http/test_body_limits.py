"""Limits on bodies: pace, total memory, decompression."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import zlib
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.gateway.fakes import PATH, PNG, FakeService, Service, config, image, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import LAKE
from tintype.gateway.access.rejections import BodyTooSlow, TooManyUploads
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.http.body_limits import (
    MAX_EXPANSION,
    MIN_RATE,
    UNCOUNTED,
    BodyLimits,
    BodyMemory,
    HeldMemory,
    extend_hold,
    held_bytes,
    hold_bytes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

BODY = {"prompt": "a lake"}
EDITS = "/v1/images/edits"
INVALID_REQUEST = "invalid_request_error"
MIB = 2**20


async def read_messages(receive: Callable[[], Awaitable[Any]]) -> int:
    """Read a whole body and return its size."""
    size = 0
    while True:
        message = await receive()
        size += len(message["body"])
        if not message.get("more_body"):
            return size


async def receive_all(
    memory: BodyMemory, seconds: float, messages: AsyncIterator[bytes], headers: Iterable[tuple[bytes, bytes]] = ()
) -> int:
    """Return how many bytes an application receives when these pieces and then the end are sent."""
    sizes = []

    async def receive() -> dict[str, Any]:
        piece = await anext(messages, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def app(_: Any, receive: Any, __: Any) -> None:
        sizes.append(await read_messages(receive))

    await BodyLimits(app, seconds, memory)({"type": "http", "headers": list(headers)}, receive, receive)  # type: ignore[arg-type]
    return sizes[0]


async def stalling(size: int, gate: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield `size` bytes, and stop until the gate opens."""
    yield b"x" * size
    await gate.wait()


class TestRate:
    async def test_early_bytes_do_not_extend_the_time(self) -> None:
        """Early bytes do not extend the time: a body that stops fails after the same time, independent of its size."""
        memory, gate = BodyMemory(100 * MIB, 0.1), asyncio.Event()
        for size in (1, MIN_RATE, 50 * MIB):
            with pytest.raises(BodyTooSlow):
                await receive_all(memory, 0.1, stalling(size, gate))
        assert memory.used == 0

    async def test_steady_bodies_may_take_longer(self) -> None:
        """A body that keeps arriving may take longer than the time limit."""
        loop, seconds = asyncio.get_running_loop(), 1.0

        async def steadily() -> AsyncIterator[bytes]:
            until = loop.time() + 3 * seconds
            while loop.time() < until:
                yield b"x" * MIN_RATE
                await asyncio.sleep(seconds / 8)

        assert await receive_all(BodyMemory(100 * MIB, 1), seconds, steadily()) > MIN_RATE

    async def test_slow_bodies_fail(self) -> None:
        """A body that arrives too slowly is failed."""

        async def trickle() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.01)

        with pytest.raises(BodyTooSlow):
            await receive_all(BodyMemory(MIB, 1), 0.1, trickle())


class TestMemory:
    def test_total_memory_is_limited(self) -> None:
        """All requests together hold at most the capacity; memory released by one is available to others."""
        memory = BodyMemory(MIB, 60)
        one, two, small = HeldMemory(memory), HeldMemory(memory), HeldMemory(memory)
        with one.hold(), two.hold(), small.hold():
            one.take(MIB)
            with pytest.raises(TooManyUploads):
                two.take(2 * UNCOUNTED + 1)
            small.take(UNCOUNTED)
            assert memory.used == MIB - UNCOUNTED
        assert memory.used == 0
        with two.hold():
            two.take(MIB)
        assert memory.used == 0
        assert not memory.holding

    def test_bytes_in_memory_are_always_counted(self) -> None:
        """Bytes that are in memory already are counted even if they do not fit."""
        memory = BodyMemory(MIB, 60)
        one, two = HeldMemory(memory), HeldMemory(memory)
        with one.hold():
            one.take(3 * MIB, always=True)
            with two.hold(), pytest.raises(TooManyUploads):
                two.take(2 * UNCOUNTED)

    async def test_work_after_its_request_stays_counted(self) -> None:
        """Work that continues after its request stays counted."""
        memory, gate = BodyMemory(MIB, 60), asyncio.Event()
        tasks = []

        async def continue_work() -> None:
            with extend_hold():
                await gate.wait()

        async def app(*_: Any) -> None:
            hold_bytes(MIB // 2)
            tasks.append(asyncio.create_task(continue_work()))
            await asyncio.sleep(0)

        await BodyLimits(app, 1, memory)({"type": "http", "headers": []}, app, app)  # type: ignore[arg-type]
        assert memory.used == MIB // 2 - UNCOUNTED
        gate.set()
        await tasks[0]
        assert memory.used == 0
        hold_bytes(MIB)  # no request: nothing is counted
        with extend_hold():
            assert memory.used == 0

    async def test_memory_of_a_block_is_counted_until_its_end(self) -> None:
        """A block counts its bytes, also if it ends by an error; if they do not fit, it does not begin."""
        memory, seen = BodyMemory(MIB, 60), []

        async def app(*_: Any) -> None:
            with suppress(KeyError), held_bytes(MIB // 2):
                seen.append(memory.used)
                raise KeyError
            seen.append(memory.used)
            with pytest.raises(TooManyUploads), held_bytes(2 * MIB):
                seen.append(-1)
            with held_bytes(2 * MIB, always=True):
                seen.append(memory.used)

        await BodyLimits(app, 1, memory)({"type": "http", "headers": []}, app, app)  # type: ignore[arg-type]
        assert seen == [MIB // 2 - UNCOUNTED, 0, 2 * MIB - UNCOUNTED]
        assert memory.used == 0

    async def test_slow_bodies_fail_to_free_memory(self) -> None:
        """Bodies slower than the limit are failed for others, oldest first; fast ones are not."""
        memory, gate = BodyMemory(4 * MIB, 0.0), asyncio.Event()
        slow = [asyncio.create_task(receive_all(memory, 60, stalling(MIB, gate))) for _ in range(4)]
        while memory.used < 4 * (MIB - UNCOUNTED):  # noqa: ASYNC110 - nothing calls when it is counted
            await asyncio.sleep(0)
        fast = HeldMemory(memory)
        with fast.hold():
            fast.take(MIB + 5 * UNCOUNTED)
            with pytest.raises(TooManyUploads):
                await slow[0]
            with pytest.raises(TooManyUploads):
                await slow[1]
            memory._timeout = 60
            with pytest.raises(TooManyUploads):
                fast.take(3 * MIB)
        gate.set()
        assert await asyncio.gather(*slow[2:]) == [MIB, MIB]
        assert memory.used == 0

    @pytest.mark.parametrize("times", [1, 2])
    async def test_a_body_may_fail_twice_or_after_its_timeout(self, times: int) -> None:
        """A body that is failed for others may have timed out already, or be failed twice, before its task runs."""
        memory, gate = BodyMemory(MIB, 60), asyncio.Event()
        held = HeldMemory(memory)
        with held.hold():
            held.take(MIB // 2)
            task = asyncio.create_task(_waiting(held, gate))
            await asyncio.sleep(0)
            if times == 1:
                assert held.timeout
                held.timeout._timeout_handler.cancel()  # type: ignore[attr-defined]
                held.timeout._on_timeout()  # type: ignore[attr-defined]  # as the loop does when the time is over
            for _ in range(times):
                held.fail()
            assert memory.used == 0
            with pytest.raises(TimeoutError):
                await task
        assert memory.used == 0

    async def test_no_memory_stays_counted_however_requests_end(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """However requests end, none of their memory stays counted."""
        memories: list[BodyMemory] = []

        class RecordedMemory(BodyMemory):
            def __init__(self, capacity: int, timeout: float) -> None:
                super().__init__(capacity, timeout)
                memories.append(self)

        image_base64 = base64.b64encode(LAKE).decode()
        bodies = {PATH: BODY, EDITS: BODY | {"image": image_base64}, "/sdapi/v1/png-info": {"image": image_base64}}
        encoded = {path: json.dumps(body | {"more": "x" * 3 * UNCOUNTED}).encode() for path, body in bodies.items()}
        heads = [b"", b"idempotency-key: %d\r\n", b"content-encoding: gzip\r\n", b"transfer-encoding: chunked\r\n"]
        random = Random(7)  # noqa: S311 - no secret

        async def one(client: httpx.AsyncClient) -> None:
            path = random.choice(list(encoded))
            body = random.choice([encoded[path], encoded[path], encoded[path][:-1], b"{" * 3 * UNCOUNTED])
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n".encode()
            extra = random.choice(heads)
            if extra == heads[-1]:
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            else:
                head += b"content-length: %d\r\n" % len(body)
            head += extra % random.randrange(5) if b"%d" in extra else extra
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            with suppress(ConnectionError):
                writer.write(head + b"\r\n" + body[: random.choice([1, len(body) // 2, len(body)])])
                await writer.drain()
                if random.random() < 0.7:
                    await reader.read(random.choice([1, 2**20]))
            writer.close()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tintype.gateway.app.BodyMemory", RecordedMemory)
            settings = {"max_body": MIB, "body_memory": 2 * MIB, "receive_timeout": 0.5}
            async with running_gateway(config(service, tmp_path, **settings)) as client:
                for _ in range(4):
                    await asyncio.gather(*(one(client) for _ in range(40)))
                async with asyncio.timeout(60):
                    while any(memory.holding for memory in memories):  # noqa: ASYNC110 - nothing calls when it is empty
                        await asyncio.sleep(0.02)
                assert [memory.used for memory in memories] == [0]
        assert fake.requests

    async def test_stalled_uploads_do_not_block_other_requests(
        self, service: Service, fake: FakeService, tmp_path: Path
    ) -> None:
        """Stalled uploads use at most the configured memory; requests without uploads are served meanwhile."""
        settings = {"max_body": 4 * MIB, "body_memory": 8 * MIB, "receive_timeout": 5.0}
        async with running_gateway(config(service, tmp_path, **settings)) as client:
            answers = [asyncio.create_task(upload(client, 4 * MIB, 3 * MIB)) for _ in range(8)]
            done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            assert (await client.post(PATH, json=BODY)).status_code == 200
            response = await asyncio.gather(*answers)
        assert {one.partition(b" ")[2][:3] for one in response} == {b"503", b"408"}
        assert sum(b" 408 " in one[:20] for one in response) <= 2
        refused = next(one for one in response if b" 503 " in one[:20])
        assert b"retry-after: 1" in refused
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"]["type"] == "server_error"
        assert len(fake.requests) == 1
        assert done

    async def test_results_for_slow_clients_are_counted(self, service: Service, tmp_path: Path) -> None:
        """Results read by slow clients are counted; files are not read if they do not fit."""
        fake = service.fake

        async def large(*_: Any) -> AsyncIterator[Any]:
            yield image(data=PNG + bytes(2 * MIB))
            async for event in behave(*_):
                if not event.HasField("image"):
                    yield event

        behave, fake.behave = fake.behave, large
        settings = {"max_body": MIB, "body_memory": 3 * MIB}
        async with running_gateway(config(service, tmp_path, **settings)) as client:
            link = (await client.post(PATH, json=BODY | {"response_format": "url"})).json()["data"][0]["url"]
            assert (await client.get(link)).content == PNG + bytes(2 * MIB)
            assert (await client.head(link)).headers["content-length"] == str(len(PNG) + 2 * MIB)
            async with client.stream("GET", link) as reading:
                assert reading.status_code == 200
        fake.reset()


async def _waiting(held: HeldMemory, gate: asyncio.Event) -> None:
    async with asyncio.timeout(60) as held.timeout:
        await gate.wait()


async def upload(client: httpx.AsyncClient, size: int, sent_size: int) -> bytes:
    """Begin to send a body, stop, and return the response."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    )
    with suppress(ConnectionError):
        writer.write(head.encode() + b" " * sent_size)
        await writer.drain()
    try:
        async with asyncio.timeout(60):
            response = b""
            with suppress(ConnectionError):
                while piece := await reader.read(2**16):
                    response += piece
            return response
    finally:
        writer.close()


class TestDecompression:
    @pytest.mark.parametrize(
        ("encoding", "compress"),
        [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)],
    )
    async def test_compressed_json_is_read(
        self, gateway: httpx.AsyncClient, fake: FakeService, encoding: str, compress: Callable[[bytes], bytes]
    ) -> None:
        """A compressed body is read like a plain one."""
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = await gateway.post(PATH, content=compress(json.dumps(BODY).encode()), headers=headers)
        assert (answer.status_code, fake.requests[0].prompt) == (200, "a lake")

    async def test_compressed_forms_are_read(self, gateway: httpx.AsyncClient, fake: FakeService) -> None:
        """Forms may be compressed, and repeated under a key."""
        form = httpx.Request("POST", "http://x", data={"prompt": "x"}, files={"image": LAKE})
        headers = {"content-type": form.headers["content-type"], "content-encoding": "gzip", "idempotency-key": "z"}
        body = gzip.compress(form.read())
        for _ in range(2):
            assert (await gateway.post(EDITS, content=body, headers=headers)).status_code == 200
        assert [bodies.image for bodies in fake.requests] == [LAKE]

    @pytest.mark.parametrize(
        ("body", "encoding", "status", "expected"),
        [
            (gzip.compress(b"{}")[:-4], "gzip", 400, "ends before its compressed data is complete"),
            (gzip.compress(b"{}") + b"more", "gzip", 400, "must end with its compressed data"),
            (gzip.compress(b"{}") * 2, "gzip", 400, "must end with its compressed data"),
            (b'{"prompt": "x"}', "gzip", 400, "not compressed as Content-Encoding says"),
            (gzip.compress(b" " * 90_000 + b"{"), "gzip", 400, "not valid JSON"),
            (gzip.compress(bytes(100_001)), "gzip", 413, "at most 100000 bytes"),
            (gzip.compress(bytes(64 * MIB)), "gzip", 400, f"more than {MAX_EXPANSION} times"),
            (b"{}", "br", 415, "gzip, deflate or identity, not 'br'"),
            (b"{}", "gzip, gzip", 415, "not 'gzip, gzip'"),
            (b"", "gzip", 400, "not valid JSON"),
        ],
    )
    async def test_invalid_compression_is_refused(
        self, gateway: httpx.AsyncClient, fake: FakeService, body: bytes, encoding: str, status: int, expected: str
    ) -> None:
        """A body that can't be decompressed, or expands too much, is refused with the reason."""
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = await gateway.post(PATH, content=body, headers=headers)
        assert expected in check_error(answer, status, INVALID_REQUEST, None, None)
        assert not fake.requests

    async def test_decompression_stops_at_the_limit(self) -> None:
        """A body is decompressed in pieces, and refused as soon as it is too large, before the rest is decompressed."""
        memory = BodyMemory(100 * MIB, 60)

        async def bomb() -> AsyncIterator[bytes]:
            compressed = gzip.compress(bytes(64 * MIB))
            for start in range(0, len(compressed), 1000):
                yield compressed[start : start + 1000]

        with pytest.raises(Exception, match="times its size"):
            await receive_all(memory, 60, bomb(), [(b"content-encoding", b"gzip")])


@pytest.mark.parametrize("setting", [{"body_memory": 10}, {"max_body": 2**40}, {"max_body": 0}])
def test_max_body_must_fit_into_body_memory(setting: dict[str, Any]) -> None:
    """One body must fit into the memory for all bodies."""
    with pytest.raises(StartError, match="--max-body must be above 0 and at most --body-memory"):
        GatewayConfig(**setting)
