"""The access log: one line for each request."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import (
    PATH,
    FakeService,
    Refusal,
    Service,
    config,
    disconnect_once_started,
    image,
    running_gateway,
)
from tintype.gateway.access_record import pairs
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

FIELDS = ["id", "trace", "key", "method", "path", "status", "error", "model", "images", "queue", "run", "time"]


def parse_line(line: str) -> dict[str, str]:
    """Parse a line as documented."""
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Return a function that returns the lines logged so far."""
    caplog.set_level(logging.DEBUG, "tintype.gateway.access")
    return lambda: [
        parse_line(record.getMessage()) for record in caplog.records if record.name == "tintype.gateway.access"
    ]


async def test_successful_probes_are_not_logged_at_info(
    gateway: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Health probes are not logged at level info; other requests are."""
    caplog.set_level(logging.INFO, "tintype.gateway.access")
    for path in ("/livez", "/readyz", "/metrics", "/v1/models"):
        await gateway.get(path)
    logged = [parse_line(record.getMessage()) for record in caplog.records if record.name == "tintype.gateway.access"]
    assert [line["path"] for line in logged] == ["/v1/models"]


async def images_with_timings(request: pb.GenerateImagesRequest, _: Any) -> AsyncIterator[pb.StreamImagesResponse]:
    """Return images with timings: 1.5 s in the queue, 4 s in total."""
    for index in range(request.count or 1):
        yield image(index)
    done = pb.Completed(model="org/large", usage=pb.Usage(images=request.count or 1))
    done.timings.queue.FromMilliseconds(1500)
    done.timings.total.FromMilliseconds(4000)
    yield pb.StreamImagesResponse(completed=done)


async def test_image_requests_are_logged_with_their_facts(
    service: Service, fake: FakeService, lines: Any, tmp_path: Path
) -> None:
    """A line has the key, the model, the number of images, queue and run time; also for streams."""
    headers = {"authorization": f"Bearer {create(tmp_path / 'keys', 'me')}"}
    fake.behave = images_with_timings
    async with running_gateway(config(service, tmp_path)) as client:
        for stream in (False, True):
            body = {"prompt": "a secret lake", "model": "dall-e-3", "n": 2, "stream": stream}
            answer = await client.post(PATH, json=body, headers=headers)
            line = lines()[-1]
            assert list(line) == FIELDS
            assert line["id"] == answer.headers["x-request-id"]
            assert (line["key"], line["model"], line["images"]) == ("me", "org/large", "2")
            assert (line["queue"], line["run"], line["status"], line["error"]) == ("1.500", "2.500", "200", "-")
            assert re.fullmatch(r"\d+\.\d{3}", line["time"])


async def test_prompts_are_logged_only_if_configured(
    service: Service, lines: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Prompts are logged only if configured, and can't forge a line or a field."""
    prompt = 'a "secret" lake\nid=forged status=200'
    async with running_gateway(config(service, tmp_path)) as client:
        await client.post(PATH, json={"prompt": prompt})
    assert "secret" not in caplog.text
    async with running_gateway(config(service, tmp_path, log_prompts=True)) as client:
        await client.post(PATH, json={"prompt": prompt})
        await client.get("/livez")
    assert [line.get("prompt") for line in lines()] == [None, prompt, "-"]
    assert all("\n" not in record.getMessage() for record in caplog.records)


async def test_failures_are_logged_with_their_reason(
    service: Service, fake: FakeService, lines: Any, tmp_path: Path
) -> None:
    """A line has the reason of a failure, also within a stream; without keys it has no key."""

    async def fail_after_an_image(_: Any, context: Any) -> Any:
        yield image()
        async for event in Refusal(grpc.StatusCode.INTERNAL, "no", "GENERATION_FAILED")(
            pb.GenerateImagesRequest(), context
        ):
            yield event

    async def unreadable_preview(*_: Any) -> Any:
        yield pb.StreamImagesResponse(preview=pb.Preview(data=b"x", mime_type="image/png"))

    async with running_gateway(config(service, tmp_path)) as client:
        await client.post(PATH, json={})
        fake.behave = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "QUEUE_FULL")
        await client.post(PATH, json={"prompt": "x"})
        for behave in (fail_after_an_image, unreadable_preview):
            fake.behave = behave
            await client.post(PATH, json={"prompt": "x", "n": 2, "stream": True})
        await client.get("/nowhere%20here")
    logged = [(line["status"], line["error"], line["key"]) for line in lines()]
    assert logged == [
        ("400", "EMPTY_PROMPT", "-"),
        ("429", "QUEUE_FULL", "-"),
        ("200", "GENERATION_FAILED", "-"),
        ("200", "FAULT", "-"),
        ("404", "NO_SUCH_PATH", "-"),
    ]
    assert lines()[-1]["path"] == "/nowhere%20here"


@pytest.mark.parametrize("stream", [False, True])
async def test_disconnected_clients_are_logged(
    service: Service, fake: FakeService, lines: Any, tmp_path: Path, *, stream: bool
) -> None:
    """A client that disconnects early is logged as gone."""

    async def wait(*_: Any) -> Any:
        yield pb.StreamImagesResponse(queued=pb.Queued())
        await asyncio.Event().wait()

    fake.behave = wait
    async with running_gateway(config(service, tmp_path)) as client:
        if stream:
            async with client.stream("POST", PATH, json={"prompt": "x", "stream": True}) as response:
                assert response.status_code == 200
        else:
            await disconnect_once_started(client.post(PATH, json={"prompt": "x"}), fake)
        await asyncio.wait_for(fake.cancelled.wait(), 30)
    assert [(line["status"], line["error"]) for line in lines()] == [("200" if stream else "499", "CLIENT_GONE")]


async def test_only_plain_client_ids_are_kept(service: Service, lines: Any, tmp_path: Path) -> None:
    """A client's own id is kept if it is plain; one that could forge a line is replaced."""
    async with running_gateway(config(service, tmp_path)) as client:
        await client.get("/livez", headers={"x-request-id": "mine-1"})
        await client.get("/livez", headers={"x-request-id": 'mine status="500"'})
    assert lines()[0]["id"] == "mine-1"
    assert lines()[1]["id"].startswith("req_")
    assert lines()[1]["status"] == "200"


def test_pairs() -> None:
    """Text that is not plain is quoted; a missing value is a dash."""
    assert pairs({"a": "x", "b": "", "c": None, "d": 0, "e": 1.23456, "f": 'a "b"', "g": "é="}) == (
        r'a=x b=- c=- d=0 e=1.235 f="a \"b\"" g="\u00e9="'
    )


@pytest.mark.parametrize("sign", ["\0", "\x1b[2J", "\x7f", "\x9b2J", "\u202e", "é"])
def test_control_characters_are_escaped(sign: str) -> None:
    """Nothing that a client sends can control the terminal that shows the log."""
    line = pairs({"model": sign})
    assert line.isascii()
    assert line.isprintable()
