"""Every row of the table of errors, as a client of OpenAI's API receives it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.gateway.fakes import (
    PATH,
    FakeService,
    Refusal,
    Service,
    config,
    image,
    running_gateway,
    running_service,
    sleep_long,
)
from tests.support.gateway.openai_errors import check_error
from tintype.gateway.upstream.status import STATUS_BY_CODE

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode
REQUEST, SERVER = "invalid_request_error", "server_error"


@pytest.mark.parametrize(
    ("body", "code", "param", "expected"),
    [
        ({}, None, "prompt", "Invalid 'prompt': empty string. The request has no 'prompt'"),
        ({"prompt": ""}, None, "prompt", "Invalid 'prompt': empty string. Describe what"),
        ({"prompt": None}, None, "prompt", "Invalid 'prompt': empty string"),
        ({"prompt": " \n"}, None, "prompt", "Invalid 'prompt': empty string"),
        ({"prompt": 7}, "invalid_value", "prompt", "must be a string"),
        ({"prompt": "x", "n": 0}, "invalid_value", "n", "from 1 to 10, not 0"),
        ({"prompt": "x", "n": 11}, "invalid_value", "n", "from 1 to 10, not 11"),
        ({"prompt": "x", "n": "2"}, "invalid_value", "n", "from 1 to 10, not '2'"),
        ({"prompt": "x", "n": True}, "invalid_value", "n", "not true"),
        ({"prompt": "x", "size": "big"}, "invalid_value", "size", "1024x1024"),
        ({"prompt": "x", "size": "0x512"}, "invalid_value", "size", "not '0x512'"),
        ({"prompt": "x", "size": "512x999999999999"}, "invalid_value", "size", "WIDTHxHEIGHT"),
        ({"prompt": "x", "quality": 7}, "invalid_value", "quality", "must be a string of at most 100"),
        ({"prompt": "x", "style": "x" * 101}, "invalid_value", "style", "at most 100 characters"),
        ({"prompt": "x", "response_format": "file"}, "invalid_value", "response_format", "'b64_json', 'url'"),
        ({"prompt": "x", "output_format": "gif"}, "invalid_value", "output_format", "'jpeg', 'png', 'webp'"),
        ({"prompt": "x", "output_compression": 101}, "invalid_value", "output_compression", "from 0 to 100"),
        ({"prompt": "x", "background": "red"}, "invalid_value", "background", "'transparent'"),
        ({"prompt": "x", "background": "transparent", "output_format": "jpeg"}, "invalid_value", "background", "jpeg"),
        ({"prompt": "x", "moderation": "high"}, "invalid_value", "moderation", "'low'"),
        ({"prompt": "x", "partial_images": 4}, "invalid_value", "partial_images", "from 0 to 3"),
        ({"prompt": "x", "stream": "yes"}, "invalid_value", "stream", "true or false"),
        ({"prompt": "x", "n": 1.5}, "invalid_value", "n", "from 1 to 10, not 1.5"),
        ({"prompt": "x", "n": ""}, "invalid_value", "n", "from 1 to 10, not ''"),
        ({"prompt": "x", "seed": -2}, "invalid_value", "seed", "from -1 to 9223372036854775807, not -2"),
        ({"prompt": "x", "model": "m" * 257}, "invalid_value", "model", "at most 256 characters"),
        (
            {"prompt": "x", "image": 7},
            "invalid_value",
            "image",
            "WebP file as a URL, a data: URL or base64, not 7",
        ),
        ({"prompt": "x", "image": "aGVsbG8="}, "invalid_image_file", "image", "PNG, JPEG or WebP"),
        ({"prompt": "x", "image": "no base64!"}, "invalid_image_file", "image", "base64, a 'data:' URL, or a URL"),
        ({"prompt": "x", "image": "http://127.0.0.1/"}, "invalid_image_url", "image", "no public address"),
        ({"prompt": "x", "seed": 2**63}, "invalid_value", "seed", "9223372036854775807"),
        ({"prompt": "x", "steps": 151}, "invalid_value", "steps", "from 1 to 150"),
        ({"prompt": "x", "num_inference_steps": 0}, "invalid_value", "num_inference_steps", "from 1 to 150"),
        ({"prompt": "x", "steps": 2, "num_inference_steps": 3}, "invalid_value", "num_inference_steps", "'steps'"),
        ({"prompt": "x", "cfg_scale": -1}, "invalid_value", "cfg_scale", "from 0 to 50"),
        ({"prompt": "x", "loras": ["a"]}, "invalid_value", "loras[0]", "an object {name, weight}, not 'a'"),
        ({"prompt": "x" * 32_001}, "invalid_value", "prompt", "at most 32000 characters"),
    ],
    ids=str,
)
async def test_invalid_field_is_named(
    gateway: httpx.AsyncClient, fake: FakeService, body: dict[str, Any], code: str | None, param: str, expected: str
) -> None:
    """An invalid field is named with its value and what is right, and no request reaches the service."""
    answer = await gateway.post(PATH, json=body)
    assert expected in check_error(answer, 400, REQUEST, code, param)
    assert not fake.requests


@pytest.mark.parametrize(
    ("refusal", "status", "kind", "code", "param"),
    [
        (Refusal(Code.INVALID_ARGUMENT, reason="INVALID_FIELD"), 400, REQUEST, "invalid_value", None),
        (Refusal(Code.OUT_OF_RANGE, reason="INVALID_FIELD"), 400, REQUEST, "invalid_value", None),
        (Refusal(Code.RESOURCE_EXHAUSTED, "Sent message larger than max (70 vs. 64)"), 413, REQUEST, None, None),
        (Refusal(Code.OUT_OF_RANGE), 503, SERVER, None, None),
        (Refusal(Code.FAILED_PRECONDITION), 503, SERVER, None, None),
        (Refusal(Code.INVALID_ARGUMENT), 503, SERVER, None, None),
        (
            Refusal(Code.FAILED_PRECONDITION, reason="MODEL_BROKEN", facts={"model": "m"}),
            503,
            SERVER,
            "model_broken",
            "model",
        ),
        (Refusal(Code.UNAUTHENTICATED), 503, SERVER, None, None),
        (Refusal(Code.PERMISSION_DENIED, reason="ADMIN_ONLY"), 403, REQUEST, None, None),
        (Refusal(Code.PERMISSION_DENIED), 503, SERVER, None, None),
        (
            Refusal(Code.NOT_FOUND, reason="MODEL_NOT_FOUND", facts={"model": "m"}),
            404,
            REQUEST,
            "model_not_found",
            "model",
        ),
        (Refusal(Code.NOT_FOUND), 503, SERVER, None, None),
        (Refusal(Code.ALREADY_EXISTS), 503, SERVER, None, None),
        (Refusal(Code.ABORTED), 503, SERVER, None, None),
        (Refusal(Code.RESOURCE_EXHAUSTED), 429, "requests", "rate_limit_exceeded", None),
        (Refusal(Code.RESOURCE_EXHAUSTED, reason="QUEUE_FULL"), 429, "requests", "rate_limit_exceeded", None),
        (Refusal(Code.RESOURCE_EXHAUSTED, reason="OUT_OF_MEMORY"), 429, SERVER, "out_of_memory", None),
        (Refusal(Code.CANCELLED), 503, SERVER, None, None),
        (Refusal(Code.UNIMPLEMENTED), 503, SERVER, None, None),
        (Refusal(Code.UNKNOWN), 500, SERVER, None, None),
        (Refusal(Code.INTERNAL, reason="GENERATION_FAILED"), 500, SERVER, None, None),
        (Refusal(Code.DATA_LOSS), 500, SERVER, None, None),
        (
            Refusal(Code.UNIMPLEMENTED, reason="UNSUPPORTED", facts={"field": "loras"}),
            501,
            REQUEST,
            "unsupported_parameter",
            "loras",
        ),
        (Refusal(Code.UNAVAILABLE, reason="UNAVAILABLE"), 503, SERVER, None, None),
        (Refusal(Code.INTERNAL), 503, SERVER, None, None),
        (Refusal(Code.DEADLINE_EXCEEDED, reason="DEADLINE_EXCEEDED"), 504, SERVER, "timeout", None),
    ],
    ids=lambda value: f"{value.code.name}-{value.reason}" if isinstance(value, Refusal) else None,
)
async def test_every_code_has_status_type_and_code(
    gateway: httpx.AsyncClient,
    fake: FakeService,
    refusal: Refusal,
    status: int,
    kind: str,
    code: str | None,
    param: str | None,
) -> None:
    """Every code of the service has its status, type and code; headers request or forbid retries.

    Without a reason the error is foreign: its code and its text don't reach the client.
    """
    fake.behave = refusal
    answer = await gateway.post(PATH, json={"prompt": "x", "model": "m"})
    message = check_error(answer, status, kind, code, param)
    retry = (answer.headers.get("retry-after"), answer.headers.get("retry-after-ms"))
    lasting = refusal.reason in ("OUT_OF_MEMORY", "MODEL_BROKEN") or refusal.code is Code.UNAUTHENTICATED
    comes_back = status in (429, 503) and not lasting
    assert retry == (("1", "1000") if comes_back else (None, None))
    in_vain = status in (500, 501, 504) or lasting
    assert answer.headers.get("x-should-retry") == ("false" if in_vain else None)
    assert (message == "refused") == bool(refusal.reason)
    assert refusal.reason or "refused" not in message


def test_every_code_has_a_status() -> None:
    """Every gRPC code except OK has a row."""
    assert set(STATUS_BY_CODE) == set(Code) - {Code.OK}


@pytest.mark.parametrize(
    ("field", "body", "param"),
    [
        ("count", {"n": 3}, "n"),
        ("width", {"size": "16x16"}, "size"),
        ("height", {"size": "16x16"}, "size"),
        ("output.mime_type", {"output_format": "png"}, "output_format"),
        ("output.quality", {"output_compression": 5}, "output_compression"),
        ("output.alpha", {"background": "transparent"}, "background"),
        ("caller", {"user": "me"}, "user"),
        ("caller", {"safety_identifier": "me"}, "safety_identifier"),
        ("steps", {"steps": 3}, "steps"),
        ("steps", {"num_inference_steps": 3}, "num_inference_steps"),
        ("guidance_scale", {"guidance_scale": 0}, "guidance_scale"),
        ("guidance_scale", {"cfg_scale": 3}, "cfg_scale"),
        ("strength", {"strength": 1}, "strength"),
        ("sampler", {"sampler": "x"}, "sampler"),
        ("prompt", {}, "prompt"),
    ],
)
async def test_errors_name_the_clients_key(
    gateway: httpx.AsyncClient, fake: FakeService, field: str, body: dict[str, Any], param: str
) -> None:
    """A field of the contract is named by the key that the client used."""
    fake.behave = Refusal(Code.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[(field, "must be right")])
    answer = await gateway.post(PATH, json={"prompt": "x"} | body)
    message = check_error(answer, 400, REQUEST, "invalid_value", param)
    assert f"'{param}'" in message
    assert "must be right" in message
    assert (f"'{field}'" in message) == (field == param)


async def test_all_invalid_fields_are_named(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """All faulty fields are named; the first is the parameter."""
    faults = [("count", "must be 1"), ("width", "must be 16 to 4096, not 5000")]
    fake.behave = Refusal(Code.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=faults)
    message = check_error(await gateway.post(PATH, json={"prompt": "x"}), 400, REQUEST, "invalid_value", "n")
    assert message == "Invalid 'n': must be 1. Invalid 'size': width must be 16 to 4096, not 5000."


@pytest.mark.parametrize(("delay", "headers"), [(2.5, ("3", "2500")), (0.2, ("1", "200")), (60, ("60", "60000"))])
@pytest.mark.parametrize("code", [Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE])
async def test_retry_delay_is_passed_on(
    gateway: httpx.AsyncClient, fake: FakeService, code: Code, delay: float, headers: tuple[str, str]
) -> None:
    """The service's retry delay is passed on."""
    fake.behave = Refusal(
        code, "later", "QUEUE_FULL" if code is Code.RESOURCE_EXHAUSTED else "UNAVAILABLE", delay=delay
    )
    answer = await gateway.post(PATH, json={"prompt": "x"})
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == headers


async def test_invalid_trailer_does_not_hide_the_error(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """An invalid trailer does not hide the error."""

    class InvalidTrailer(Refusal):
        @property
        def trailers(self) -> tuple[tuple[str, bytes], ...]:
            return (("grpc-status-details-bin", b"\xff\xff\xff"),)

    fake.behave = InvalidTrailer(Code.RESOURCE_EXHAUSTED)
    check_error(await gateway.post(PATH, json={"prompt": "x"}), 429, "requests", "rate_limit_exceeded", None)


async def test_unreachable_service_is_503(tmp_path: Path) -> None:
    """Without a service the answer is a quick 503 without addresses; a service that is back is found again."""
    async with running_service() as service:
        port = int(service.address.rpartition(":")[2])
    async with running_gateway(config(service, tmp_path)) as client:
        answer = await client.post(PATH, json={"prompt": "x"}, timeout=5)
        assert service.address not in check_error(answer, 503, SERVER, None, None)
        assert answer.headers["retry-after"] == "1"
        assert (await client.get("/readyz")).status_code == 503
        check_error(await client.get("/v1/models"), 503, SERVER, None, None)
        async with running_service(port) as service:
            for _ in range(100):
                if (await client.get("/readyz")).status_code == 200:
                    break
            assert (await client.post(PATH, json={"prompt": "x"})).status_code == 200


async def test_timeout_is_504_and_cancels(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """A request beyond the gateway's timeout gives 504 without retries, and the call is cancelled."""
    fake.behave = sleep_long
    async with running_gateway(config(service, tmp_path, timeout=0.4)) as client:
        answer = await client.post(PATH, json={"prompt": "x"})
    check_error(answer, 504, SERVER, "timeout", None)
    assert answer.headers["x-should-retry"] == "false"


async def test_bug_is_500_and_logged(
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug gives 500 without retries; the traceback is in the log, not in the response."""

    def raise_bug(*_: object) -> None:
        raise RuntimeError("the inside")

    monkeypatch.setattr("tintype.gateway.access.model_names.ModelNames.resolve", raise_bug)
    with caplog.at_level(logging.ERROR):
        async with running_gateway(config(service, tmp_path)) as client:
            answer = await client.post(PATH, json={"prompt": "x"})
    assert "inside" not in check_error(answer, 500, SERVER, None, None)
    assert answer.headers["x-should-retry"] == "false"
    assert "the inside" in caplog.text


async def test_stream_without_end_is_an_error(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A service that ends its stream early has failed, and no partial response is sent."""

    async def half_a_response(*_: Any) -> Any:
        yield image()

    fake.behave = half_a_response
    check_error(await gateway.post(PATH, json={"prompt": "x", "n": 2}), 500, SERVER, None, None)
