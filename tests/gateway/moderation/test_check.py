"""The moderation service is asked as OpenAI's API is, and an answer counts only if it is complete."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from tests.support.gateway.moderation import ACCEPTED, FakeModeration, flag, running_moderation
from tintype.gateway.access.rejections import ContentRefused, ModerationUnavailable
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.gateway.moderation.check import MAX_ANSWER, CheckFailed, ModerationService, Verdict, parse_answer

pytestmark = pytest.mark.anyio

PRIVATE = "prompt-that-must-stay-private"
DEEP = b'{"results": ' + b"[" * 100_000


async def ask(fake: FakeModeration, text: str = PRIVATE, **options: Any) -> list[tuple[str, str]]:
    """Check one text; return what was counted."""
    counted: list[tuple[str, str]] = []
    service = ModerationService(fake.url, count=lambda *each: counted.append(each), **options)
    try:
        await service.check_text("prompt", text, "id-1")
    finally:
        await service.aclose()
    return counted


async def test_requests_are_those_of_openai() -> None:
    """A text is sent as it is, an image as a data URL; key and model are sent if they are set."""
    async with running_moderation() as fake:
        assert await ask(fake) == [("prompt", "accepted")]
        assert "authorization" not in fake.requests[0][0].lower()
        assert fake.requests[0][1] == {"input": PRIVATE}
        service = ModerationService(fake.url, key="secret", model="omni-moderation-latest")
        await service.check_image("generated image", b"data", "image/webp", "id-1")
        await service.aclose()
    head, body = fake.requests[1]
    assert head.startswith("POST /v1/moderations HTTP/1.1\r\n")
    assert "authorization: bearer secret" in head.lower()
    url = "data:image/webp;base64," + base64.b64encode(b"data").decode()
    image = [{"type": "image_url", "image_url": {"url": url}}]
    assert body == {"model": "omni-moderation-latest", "input": image}


async def test_flagged_texts_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    """The error names what was checked; the log also names the categories, and neither has the text."""
    caplog.set_level(logging.INFO)
    async with running_moderation() as fake:
        fake.judge = lambda _: flag("violence", "self-harm/intent", f"{PRIVATE}\n")
        with pytest.raises(ContentRefused) as caught:
            await ask(fake)
    assert caught.value.message == "The moderation of this server refuses the prompt."
    assert "id-1: moderation refused the prompt: violence, self-harm/intent" in caplog.text
    assert PRIVATE not in caplog.text


@pytest.mark.parametrize(
    ("verdict", "problem"),
    [
        (429, "the status of its answer is 429"),
        (302, "the status of its answer is 302"),
        (b"no", "its answer is not JSON"),
        (DEEP, "its answer is not JSON"),
        (b" " * (MAX_ANSWER + 1), f"its answer has more than {MAX_ANSWER} bytes"),
        (None, "no answer within 0.2 s"),
    ],
)
async def test_failures_refuse_the_request(verdict: Any, problem: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without a verdict a request gets 503, or is served if the check is optional; the log says why."""
    async with running_moderation() as fake:
        fake.judge = lambda _: verdict
        with pytest.raises(ModerationUnavailable):
            await ask(fake, timeout=0.2)
        assert f"the request gets 503: {problem}" in caplog.text
        assert await ask(fake, timeout=0.2, optional=True) == [("prompt", "failed")]
        assert f"is served unchecked: {problem}" in caplog.text
    assert PRIVATE not in caplog.text


async def test_closed_connections_are_tried_once_more() -> None:
    """A connection that the service closes without an answer costs one repetition; a closed port is a failure."""
    async with running_moderation() as fake:
        fake.closes = 1
        assert await ask(fake) == [("prompt", "accepted")]
        assert len(fake.inputs) == 2
        fake.closes = 2
        with pytest.raises(ModerationUnavailable):
            await ask(fake)
    with pytest.raises(ModerationUnavailable):
        await ask(fake)


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        (ACCEPTED, Verdict(flagged=False)),
        (flag("violence"), Verdict(flagged=True, categories=("violence",))),
        ({"results": [*ACCEPTED["results"], *flag()["results"]]}, Verdict(flagged=True)),
        ({"results": [{"flagged": True, "categories": ["violence"]}]}, Verdict(flagged=True)),
    ],
)
def test_verdicts(content: Any, verdict: Verdict) -> None:
    """One flagged result flags the input; categories are those that apply."""
    assert parse_answer(json.dumps(content).encode()) == verdict


@pytest.mark.parametrize(
    "content", [[], {}, {"results": []}, {"results": {}}, {"results": [1]}, {"results": [{"flagged": "no"}]}]
)
def test_incomplete_answers(content: Any) -> None:
    """An answer without results, or whose results have no verdict, is a failure and not acceptance."""
    with pytest.raises(CheckFailed):
        parse_answer(json.dumps(content).encode())


async def test_environment_does_not_redirect_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxy settings of the environment do not apply: prompts go to the configured address only."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with running_moderation() as fake:
        assert await ask(fake) == [("prompt", "accepted")]


def test_invalid_host_stops_the_start() -> None:
    """A URL that no request can be sent to is an error at the start, not one of each request."""
    config = GatewayConfig(moderation="http://\u00fc..example/v1/moderations")
    with pytest.raises(StartError, match="--moderation must be a URL"):
        ModerationService.from_config(config, lambda *_: None)
