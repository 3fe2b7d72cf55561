"""Rate limits of one caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.clock import Clock
from tests.support.gateway.fakes import PATH, FakeService, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tintype.gateway.access.rejections import TooManyRequests
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError
from tintype.v1.rates import RateLimits

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio


def test_the_rate_refills_with_time() -> None:
    """A full minute's rate is available at once, then it refills with time; the headers contain the state."""
    clock = Clock()
    limits = RateLimits("requests", TooManyRequests, clock)
    assert [limits.take("me", 3)["x-ratelimit-remaining-requests"] for _ in range(3)] == ["2", "1", "0"]
    with pytest.raises(TooManyRequests, match=r"The limit is 3 requests per minute. Try again in 20\.0 s\.") as caught:
        limits.take("me", 3)
    assert caught.value.retry_after == pytest.approx(20)
    assert caught.value.headers == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "60.00s",
    }
    clock.now += 20
    assert limits.take("me", 3)["x-ratelimit-remaining-requests"] == "0"
    clock.now += 1000
    assert limits.take("me", 3)["x-ratelimit-remaining-requests"] == "2"


def test_images_are_counted_and_given_back() -> None:
    """Images are counted one by one; requests above the limit do not start, and images that fail are given back."""
    clock = Clock()
    limits = RateLimits("images", TooManyRequests, clock)
    assert limits.take("me", 6, 4)["x-ratelimit-remaining-images"] == "2"
    with pytest.raises(TooManyRequests, match=r"The limit is 6 images per minute. Try again in 10\.0 s\."):
        limits.take("me", 6, 3)
    limits.give_back("me", 6, 4)
    assert limits.take("me", 6, 3)["x-ratelimit-remaining-images"] == "3"
    limits.give_back("me", 6, 100)
    assert limits.take("me", 6, 1)["x-ratelimit-remaining-images"] == "5"


def test_callers_are_independent() -> None:
    """Callers have separate buckets and limits."""
    limits = RateLimits("requests", TooManyRequests, Clock())
    limits.take("me", 1)
    assert limits.take("you", 2)["x-ratelimit-limit-requests"] == "2"
    with pytest.raises(TooManyRequests):
        limits.take("me", 1)


def test_a_changed_limit_applies_immediately() -> None:
    """A changed limit applies immediately."""
    clock = Clock()
    limits = RateLimits("requests", TooManyRequests, clock)
    limits.take("me", 100)
    assert limits.take("me", 2)["x-ratelimit-remaining-requests"] == "1"
    clock.now += 60
    assert limits.take("me", 10)["x-ratelimit-remaining-requests"] == "9"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: the caller that was idle the longest is forgotten, active ones are not."""
    monkeypatch.setattr("tintype.v1.rates._MAX_CALLERS", 10)
    limits = RateLimits("requests", TooManyRequests, Clock())
    for caller in range(100):
        limits.take("busy", 200)
        limits.take(str(caller), 200)
    assert len(limits._buckets) == 10
    assert limits.take("busy", 200)["x-ratelimit-remaining-requests"] == "99"


def test_without_a_limit_there_are_no_headers() -> None:
    """Without a limit there are no headers."""
    assert RateLimits("requests", TooManyRequests).take("me", 0) == {}
    for name in ("rate_limit", "image_limit"):
        with pytest.raises(StartError, match=f"--{name.replace('_', '-')} must be 0 or more; got -1"):
            GatewayConfig(**{name: -1})  # type: ignore[arg-type]


async def test_requests_above_the_limit_give_429(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """Requests are counted whether they succeed or not; above the limit the answer is 429 with a delay."""
    async with running_gateway(config(service, tmp_path, rate_limit=3)) as client:
        first = await client.post(PATH, json={"prompt": "x"})
        assert first.headers["x-ratelimit-remaining-requests"] == "2"
        streamed = await client.post(PATH, json={"prompt": "x", "stream": True})
        assert streamed.headers["x-ratelimit-remaining-requests"] == "1"
        await client.post(PATH, json={})
        answer = await client.post(PATH, json={"prompt": "x"})
        check_error(answer, 429, "requests", "rate_limit_exceeded", None)
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        assert (await client.get("/v1/models")).status_code == 200
    assert len(fake.requests) == 2


async def test_without_a_limit_responses_have_no_rate_headers(gateway: httpx.AsyncClient) -> None:
    """Without a limit no response has rate limit headers."""
    answer = await gateway.post(PATH, json={"prompt": "x"})
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
