"""Requests are moderated in every API, by a gateway with a fake service and a fake moderation service."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.bodies import png
from tests.support.gateway.fakes import PATH, PNG, Service, config, images_with_previews, running_gateway
from tests.support.gateway.jobs import ended, submit
from tests.support.gateway.moderation import ACCEPTED, FakeModeration, flag, running_moderation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

REFUSED_PROMPT = "The moderation of this server refuses the prompt."


@asynccontextmanager
async def moderated(
    service: Service, data: Path, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, FakeModeration]]:
    """Run a gateway and its moderation service."""
    async with (
        running_moderation() as fake,
        running_gateway(config(service, data, moderation=fake.url, **settings)) as gateway,
    ):
        yield gateway, fake


def is_image(content: Any) -> bool:
    """Return whether an input of the moderation service is an image."""
    return isinstance(content, list)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (PATH, {"prompt": "gore"}, 400),
        (PATH, {"prompt": "gore", "stream": True}, 400),
        ("/apipie/v1/images/generations", {"prompt": "gore"}, 400),
        ("/aqueduct/v1/images/generations", {"prompt": "gore"}, 400),
        ("/v1/action/generate_image", {"prompt": "gore"}, 400),
        ("/oxen/api/ai/images/generate", {"prompt": "gore"}, 400),
        ("/sdapi/v1/txt2img", {"prompt": "gore"}, 400),
    ],
)
async def test_flagged_prompts_never_reach_the_service(
    service: Service, tmp_path: Path, path: str, body: dict[str, Any], status: int
) -> None:
    """In each API a flagged prompt is an error of the request, and an accepted one is served."""
    async with moderated(service, tmp_path) as (gateway, fake):
        fake.judge = lambda content: flag("violence") if content == "gore" else ACCEPTED
        answer = await gateway.post(path, json=body)
        assert answer.status_code == status
        assert REFUSED_PROMPT in answer.text
        assert "violence" not in answer.text
        assert not service.fake.requests
        assert (await gateway.post(path, json=body | {"prompt": "a lake"})).status_code == 200
        assert len(service.fake.requests) == 1
        assert fake.inputs == ["gore", "a lake"]


async def test_error_is_that_of_openai(service: Service, tmp_path: Path) -> None:
    """A refused prompt has OpenAI's code and type; an outage is 503 with the time of a retry."""
    async with moderated(service, tmp_path) as (gateway, fake):
        fake.judge = lambda _: flag()
        error = (await gateway.post(PATH, json={"prompt": "x"})).json()["error"]
        expected = {"type": "image_generation_user_error", "code": "moderation_blocked", "param": None}
        assert error == expected | {"message": REFUSED_PROMPT}
        fake.judge = lambda _: 500
        answer = await gateway.post(PATH, json={"prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "moderation_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert not service.fake.requests


async def test_prompts_are_served_unchecked_if_the_operator_wants_it(service: Service, tmp_path: Path) -> None:
    """With an optional check an outage does not stop requests, and is counted."""
    async with moderated(service, tmp_path, moderation_optional=True) as (gateway, fake):
        fake.judge = lambda _: 500
        assert (await gateway.post(PATH, json={"prompt": "x"})).status_code == 200
        text = (await gateway.get("/metrics")).text
    assert 'tintype_gateway_moderation_checks_total{outcome="failed",subject="prompt"} 1.0' in text


async def test_images_are_not_sent_unless_asked_for(service: Service, tmp_path: Path) -> None:
    """Without the setting only the prompt is checked, and streams have previews."""
    service.fake.behave = images_with_previews(service.fake)
    async with moderated(service, tmp_path) as (gateway, fake):
        body = {"prompt": "x", "stream": True, "partial_images": 2, "negative_prompt": "gore"}
        answer = await gateway.post(PATH, json=body)
        assert answer.text.count("event: image_generation.partial_image") == 2
        assert fake.inputs == ["x"]


async def test_finished_images_are_checked(service: Service, tmp_path: Path) -> None:
    """Each result is checked before it is sent; a flagged one is an error, and no image of the request is sent."""
    async with moderated(service, tmp_path, moderate_images=True) as (gateway, fake):
        assert (await gateway.post(PATH, json={"prompt": "x", "n": 2})).status_code == 200
        urls = [content[0]["image_url"]["url"] for content in fake.inputs if is_image(content)]
        assert urls == [
            "data:image/png;base64," + base64.b64encode(PNG + bytes([index])).decode() for index in range(2)
        ]
        fake.judge = lambda content: (
            flag() if is_image(content) and content[0]["image_url"]["url"] == urls[1] else ACCEPTED
        )
        answer = await gateway.post(PATH, json={"prompt": "x", "n": 2})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "The moderation of this server refuses the generated image."
        assert (await gateway.post(PATH, json={"prompt": "x"})).status_code == 200
        text = (await gateway.get("/metrics")).text
    assert 'moderation_checks_total{outcome="refused",subject="generated_image"} 1.0' in text


async def test_streams_send_only_checked_images(service: Service, tmp_path: Path) -> None:
    """A stream has no previews; a flagged image ends it with an error in its events, and cancels the call."""
    service.fake.behave = images_with_previews(service.fake)
    async with moderated(service, tmp_path, moderate_images=True) as (gateway, fake):
        body = {"prompt": "x", "stream": True, "partial_images": 2, "n": 2}
        answer = await gateway.post(PATH, json=body)
        assert answer.text.count("event: image_generation.completed") == 2
        assert "partial_image\n" not in answer.text
        assert service.fake.previews[-1].count == 0
        fake.judge = lambda content: flag() if is_image(content) else ACCEPTED
        answer = await gateway.post(PATH, json=body)
        assert answer.status_code == 200
        assert "event: error" in answer.text
        assert "moderation_blocked" in answer.text
        assert "b64_json" not in answer.text


async def test_images_of_requests_are_checked(service: Service, tmp_path: Path) -> None:
    """An uploaded image is checked before the service is called; an empty prompt is not."""
    source = base64.b64encode(png()).decode()
    async with moderated(service, tmp_path, moderate_images=True) as (gateway, fake):
        fake.judge = lambda content: flag() if is_image(content) else ACCEPTED
        body = {"prompt": "", "init_images": [source]}
        answer = await gateway.post("/sdapi/v1/img2img", json=body)
        assert answer.status_code == 400
        assert "refuses the image of the request" in answer.text
        assert not service.fake.requests
        assert [is_image(content) for content in fake.inputs] == [True]


async def test_the_check_of_an_upload_counts_towards_the_memory(service: Service, tmp_path: Path) -> None:
    """An upload that, with its encoded form, does not fit gets 503 before the check; a smaller one is served."""
    sizes = {"moderate_images": True, "max_body": 400_000, "body_memory": 800_000}
    async with moderated(service, tmp_path, **sizes) as (gateway, fake):
        for size, status in ((300_000, 503), (100_000, 200), (300_000, 503)):
            files = {"image": ("a.png", png() + bytes(size))}
            answer = await gateway.post("/v1/images/edits", data={"prompt": "x"}, files=files)
            assert answer.status_code == status, answer.text
        assert len(service.fake.requests) == 1
        assert len([content for content in fake.inputs if is_image(content)]) == 2


async def test_one_request_is_checked_once(service: Service, tmp_path: Path) -> None:
    """A request that calls the service several times has its prompt checked once; the next request again."""
    async with moderated(service, tmp_path) as (gateway, fake):
        body = {"prompt": "a lake", "batch_size": 2, "n_iter": 2}
        for _ in range(2):
            assert (await gateway.post("/sdapi/v1/txt2img", json=body)).status_code == 200
        assert len(service.fake.requests) > 2
        assert fake.inputs == ["a lake", "a lake"]


async def test_jobs_are_moderated(service: Service, tmp_path: Path) -> None:
    """A job with a flagged prompt fails with the error that its request would have got; an accepted one succeeds."""
    async with moderated(service, tmp_path) as (gateway, fake):
        fake.judge = lambda content: flag() if content == "gore" else ACCEPTED
        jobs = [await submit(gateway, {"prompt": prompt}) for prompt in ("gore", "a lake")]
        refused, accepted = [await ended(gateway, job["id"]) for job in jobs]
        assert (refused["status"], accepted["status"]) == ("failed", "succeeded")
        assert (refused["error"]["status"], refused["error"]["reason"]) == (400, "MODERATION_BLOCKED")
        assert len(service.fake.requests) == 1


async def test_slow_checks_do_not_delay_others(service: Service, tmp_path: Path) -> None:
    """While one check waits for its answer, the gateway answers other requests."""
    async with moderated(service, tmp_path) as (gateway, fake):
        fake.judge = lambda content: None if content == "slow" else ACCEPTED
        waiting = asyncio.create_task(gateway.post(PATH, json={"prompt": "slow"}))
        async with asyncio.timeout(30):
            while "slow" not in fake.inputs:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        assert (await gateway.post(PATH, json={"prompt": "fast"})).status_code == 200
        assert not waiting.done()
        waiting.cancel()
