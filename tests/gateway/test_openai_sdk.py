"""OpenAI's own Python SDK against a running gateway."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import grpc
import openai
import pytest

from tests.support.gateway.fakes import PNG, FakeService, Refusal, sleep_long

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode


async def test_links_can_be_fetched(sdk: openai.AsyncOpenAI, gateway: httpx.AsyncClient) -> None:
    """The SDK's simplest call returns links that can be fetched."""
    answer = await sdk.images.generate(prompt="a lake", n=2)
    assert answer.data is not None
    assert [(await gateway.get(str(one.url))).content for one in answer.data] == [PNG + b"\0", PNG + b"\1"]
    assert answer.data[0].b64_json is None


async def test_all_arguments_are_accepted(sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
    """All of the SDK's own arguments are accepted, and base64 is the file."""
    answer = await sdk.images.generate(
        prompt="a lake",
        model="gpt-image-1",
        n=1,
        size="1024x1024",
        quality="high",
        background="transparent",
        moderation="low",
        output_format="png",
        output_compression=100,
        partial_images=1,
        style="vivid",
        user="me",
    )
    assert answer.data is not None
    assert base64.b64decode(str(answer.data[0].b64_json)) == PNG + b"\0"
    assert answer.created > 1_700_000_000
    assert answer.quality == "high"
    assert answer.usage is not None
    assert answer.usage.input_tokens_details.text_tokens == answer.usage.total_tokens == 7
    assert (fake.requests[0].width, fake.requests[0].output.alpha, fake.requests[0].caller) == (1024, True, "me")


async def test_extra_body_and_seed(sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
    """Fields of tintype's own go through `extra_body`; the response has the seed."""
    extra = {"seed": 0, "steps": 4, "negative_prompt": "fog"}
    answer = await sdk.images.generate(prompt="x", response_format="b64_json", extra_body=extra)
    asked = fake.requests[0]
    assert (asked.HasField("seed"), asked.seed, asked.steps, asked.negative_prompt) == (True, 0, 4, "fog")
    assert answer.data is not None
    assert answer.data[0].model_extra == {"seed": 100}


async def test_models_are_listed_and_found(sdk: openai.AsyncOpenAI) -> None:
    """Models are listed, and found by names with slashes."""
    assert [model.id async for model in sdk.models.list()] == ["tiny", "org/large"]
    assert (await sdk.models.retrieve("org/large")).created == 1_700_000_000


@pytest.mark.parametrize(
    ("refusal", "raised", "code", "kind"),
    [
        (
            Refusal(Code.INVALID_ARGUMENT, "x", "INVALID_FIELD", {}, [("count", "bad")]),
            openai.BadRequestError,
            "invalid_value",
            "invalid_request_error",
        ),
        (Refusal(Code.UNAUTHENTICATED), openai.InternalServerError, None, "server_error"),
        (
            Refusal(Code.PERMISSION_DENIED, "x", "ADMIN_ONLY"),
            openai.PermissionDeniedError,
            None,
            "invalid_request_error",
        ),
        (
            Refusal(Code.NOT_FOUND, "x", "MODEL_NOT_FOUND"),
            openai.NotFoundError,
            "model_not_found",
            "invalid_request_error",
        ),
        (Refusal(Code.ABORTED), openai.InternalServerError, None, "server_error"),
        (Refusal(Code.RESOURCE_EXHAUSTED, "x", "QUEUE_FULL"), openai.RateLimitError, "rate_limit_exceeded", "requests"),
        (Refusal(Code.INTERNAL, "x", "GENERATION_FAILED"), openai.InternalServerError, None, "server_error"),
        (
            Refusal(Code.DEADLINE_EXCEEDED, "x", "DEADLINE_EXCEEDED"),
            openai.InternalServerError,
            "timeout",
            "server_error",
        ),
    ],
    ids=lambda value: value.code.name if isinstance(value, Refusal) else None,
)
async def test_errors_become_the_sdks_classes(
    sdk: openai.AsyncOpenAI,
    fake: FakeService,
    refusal: Refusal,
    raised: type[openai.APIStatusError],
    code: str | None,
    kind: str,
) -> None:
    """Errors become the SDK's classes, with code, type and request id."""
    fake.behave = refusal
    with pytest.raises(raised) as caught:
        await sdk.images.generate(prompt="x")
    assert (caught.value.code, caught.value.type) == (code, kind)
    assert caught.value.request_id
    assert caught.value.body is not None


async def test_param_is_the_field_at_fault(sdk: openai.AsyncOpenAI) -> None:
    """The field at fault is the error's `param`."""
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.images.generate(prompt="x", n=11)
    assert (caught.value.param, caught.value.code) == ("n", "invalid_value")


@pytest.mark.parametrize(
    ("refusal", "calls"),
    [
        (Refusal(Code.INTERNAL, "x", "GENERATION_FAILED"), 1),
        (Refusal(Code.DEADLINE_EXCEEDED, "x", "DEADLINE_EXCEEDED"), 1),
        (Refusal(Code.RESOURCE_EXHAUSTED, "x", "OUT_OF_MEMORY"), 1),
        (Refusal(Code.RESOURCE_EXHAUSTED, "x", "QUEUE_FULL", delay=0.01), 3),
    ],
    ids=lambda value: value.reason if isinstance(value, Refusal) else str(value),
)
async def test_sdk_retries_only_if_it_helps(
    sdk: openai.AsyncOpenAI, fake: FakeService, refusal: Refusal, calls: int
) -> None:
    """The SDK retries if that helps, and does not have an image made three times if it can't."""
    fake.behave = refusal
    with pytest.raises(openai.APIStatusError):
        await sdk.with_options(max_retries=2).images.generate(prompt="x")
    assert len(fake.requests) == calls


async def test_timed_out_request_is_released(sdk: openai.AsyncOpenAI, fake: FakeService) -> None:
    """An SDK that gives up frees what its request held."""
    fake.behave = sleep_long
    with pytest.raises(openai.APITimeoutError):
        await sdk.with_options(timeout=0.5).images.generate(prompt="x")
    await asyncio.wait_for(fake.cancelled.wait(), 30)
