"""The table of errors over HTTP, each row in the format of each vendor, to the byte.

The first columns are OpenAI's: status, type, code, parameter. A vendor's own values stand in its column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import msgspec
import pytest

from tests.support.gateway.fakes import FakeService, Refusal, Service, config, running_gateway
from tintype.v1 import image_service_pb2 as pb
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.anyio

Code = grpc.StatusCode
PATHS = {
    "openai": "/v1/images/generations",
    "apipie": "/apipie/v1/images/generations",
    "aqueduct": "/aqueduct/v1/images/generations",
    "agent.ai": "/v1/action/generate_image",
    "oxen": "/api/ai/images/generate",
}
MAX_BODY = 5000
REQUEST, SERVER = "invalid_request_error", "server_error"
# OpenAI's SDKs retry after 429 and 5xx unless a header forbids it.
RETRY_LATER = {"retry-after": "3", "retry-after-ms": "2500"}
NO_RETRY = {"x-should-retry": "false"}
NO_HEADERS: dict[str, str] = {}
INVALID, UNKNOWN, NO_KEY, NOT_FOUND = "invalid_params", "unknown_error", "unauthenticated", "resource_not_found"


class Row(NamedTuple):
    """A request that fails, and how: `message` is part of the message; `refusal` is the error of the service."""

    status: int
    kind: str
    code: str | None
    param: str | None
    oxen: str
    aqueduct: str
    message: str
    content: str = '{"prompt": "x"}'
    refusal: Refusal | None = None
    headers: dict[str, str] = NO_HEADERS
    key: str = "good"
    method: str = "POST"
    content_type: str = "application/json"
    apipie: str | None = None  # its code, if it is not OpenAI's


ROWS = {
    "no key": Row(401, REQUEST, None, None, NO_KEY, REQUEST, "no API key", key=""),
    "wrong key": Row(401, REQUEST, "invalid_api_key", None, NO_KEY, REQUEST, "Incorrect API key", key="wrong"),
    "empty prompt": Row(
        400,
        REQUEST,
        None,
        "prompt",
        INVALID,
        REQUEST,
        "Invalid 'prompt': empty string",
        content='{"prompt": ""}',
        apipie="invalid_parameter",
    ),
    "no prompt": Row(
        400,
        REQUEST,
        None,
        "prompt",
        INVALID,
        REQUEST,
        "Invalid 'prompt': empty string",
        content="{}",
        apipie="invalid_parameter",
    ),
    "bad range": Row(
        400,
        REQUEST,
        "invalid_value",
        "n",
        INVALID,
        REQUEST,
        "must be an integer from 1 to 10, not 11",
        content='{"prompt": "x", "n": 11, "model_aspect_ratio": "wide"}',
        apipie="invalid_parameter",
    ),
    "bad enum": Row(
        400,
        REQUEST,
        "invalid_value",
        "response_format",
        INVALID,
        REQUEST,
        "must be one of 'b64_json', 'url', not 'file'",
        content='{"prompt": "x", "response_format": "file", "model_aspect_ratio": "0:1"}',
        apipie="invalid_parameter",
    ),
    "what the service finds wrong": Row(
        400,
        REQUEST,
        "invalid_value",
        "prompt",
        INVALID,
        REQUEST,
        "must be at most 77 tokens",
        refusal=Refusal(
            Code.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[("prompt", "must be at most 77 tokens")]
        ),
        apipie="invalid_parameter",
    ),
    "not JSON": Row(400, REQUEST, None, None, INVALID, REQUEST, "not valid JSON", content="{"),
    "no object": Row(400, REQUEST, None, None, INVALID, REQUEST, "must be a JSON object", content="[]"),
    "wrong content type": Row(
        415, REQUEST, None, None, INVALID, REQUEST, "application/json", content_type="text/plain"
    ),
    "unknown model": Row(
        404,
        REQUEST,
        "model_not_found",
        "model",
        NOT_FOUND,
        "not_found_error",
        "nope",
        content='{"prompt": "x", "model": "nope"}',
        refusal=Refusal(Code.NOT_FOUND, "There is no nope.", "MODEL_NOT_FOUND", {"model": "nope"}),
    ),
    "method": Row(405, REQUEST, None, None, INVALID, REQUEST, "PUT", method="PUT"),
    "body too large": Row(
        413, REQUEST, None, None, INVALID, REQUEST, str(MAX_BODY), content=f'{{"prompt": "{"x" * MAX_BODY}"}}'
    ),
    "refused image": Row(
        400,
        "image_generation_user_error",
        "moderation_blocked",
        None,
        INVALID,
        REQUEST,
        "the safety checker refuses it",
        refusal=Refusal(Code.PERMISSION_DENIED, "the safety checker refuses it", "MODERATION_BLOCKED"),
        apipie="content_policy_violation",
    ),
    "queue full": Row(
        429,
        "requests",
        "rate_limit_exceeded",
        None,
        UNKNOWN,
        "rate_limit_error",
        "The queue is full.",
        refusal=Refusal(Code.RESOURCE_EXHAUSTED, "The queue is full.", "QUEUE_FULL", delay=2.5),
        headers=RETRY_LATER,
    ),
    "deadline": Row(
        504,
        SERVER,
        "timeout",
        None,
        UNKNOWN,
        "timeout_error",
        "not in time",
        refusal=Refusal(Code.DEADLINE_EXCEEDED, "It was not in time.", "DEADLINE_EXCEEDED"),
        headers=NO_RETRY,
    ),
    "service down": Row(
        503,
        SERVER,
        None,
        None,
        UNKNOWN,
        SERVER,
        "can't be reached",
        refusal=Refusal(Code.UNAVAILABLE, "connect to 10.0.0.1: refused"),
        headers={"retry-after": "1", "retry-after-ms": "1000"},
    ),
    "ours": Row(
        500,
        SERVER,
        None,
        None,
        UNKNOWN,
        SERVER,
        "had an error",
        refusal=Refusal(Code.UNKNOWN, "KeyError: 'x'"),
        headers=NO_RETRY,
    ),
}
# Rows in which agent.ai has another field, and therefore another text.
AGENT_AI_MESSAGES = {
    "bad range": "Invalid 'model_aspect_ratio': must be WIDTH:HEIGHT, for example 16:9, not 'wide'.",
    "bad enum": "Invalid 'model_aspect_ratio': must be WIDTH:HEIGHT, for example 16:9, not '0:1'.",
}
# Texts that only this vendor has.
OXEN_MESSAGES = {
    "empty prompt": "Prompt cannot be empty",
    "no prompt": "Prompt cannot be empty",
    "unknown model": "Model not found: nope",
}
APIPIE_MESSAGES = {
    "bad range": "The 'n' parameter must be an integer from 1 to 10, not 11.",
    "bad enum": "The 'response_format' parameter must be one of 'b64_json', 'url', not 'file'.",
    "what the service finds wrong": "The 'prompt' parameter must be at most 77 tokens.",
}


class KeyedGateway(NamedTuple):
    """A gateway that requires keys, and its keys by name."""

    client: httpx.AsyncClient
    keys: dict[str, str]


@pytest.fixture(scope="module")
async def keyed_gateway(
    shared_service: Service, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[KeyedGateway]:
    data = tmp_path_factory.mktemp("locked")
    keys = {"good": create(data / "keys", "good"), "wrong": "wrong"}
    keys |= {name: create(data / "keys", name, requests=1) for name in PATHS}
    async with running_gateway(config(shared_service, data, max_body=MAX_BODY)) as client:
        yield KeyedGateway(client, keys)


async def send_failing_request(keyed_gateway: KeyedGateway, fake: FakeService, path: str, row: Row) -> httpx.Response:
    """Send the request of a row, and check what all vendors have in common."""
    if row.refusal:
        fake.behave = row.refusal
    headers = {"content-type": row.content_type}
    if row.key:
        headers["authorization"] = f"Bearer {keyed_gateway.keys[row.key]}"
    answer = await keyed_gateway.client.request(row.method, path, content=row.content, headers=headers)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert int(answer.headers["openai-processing-ms"]) >= 0
    retry_headers = {name: answer.headers[name] for name in (*RETRY_LATER, *NO_RETRY) if name in answer.headers}
    assert retry_headers == row.headers
    allowed = set(answer.headers.get("allow", "").split(", "))
    assert allowed == ({"OPTIONS", "POST"} if answer.status_code == 405 else {""})
    assert bool(fake.requests) == bool(row.refusal)
    return answer


def encode(body: Any) -> bytes:
    return msgspec.json.encode(body)


@pytest.mark.parametrize("name", ROWS)
class TestRows:
    async def test_openai_has_all_four_keys(self, keyed_gateway: KeyedGateway, service: Service, name: str) -> None:
        """All four keys, always."""
        row = ROWS[name]
        answer = await send_failing_request(keyed_gateway, service.fake, PATHS["openai"], row)
        message = answer.json()["error"]["message"]
        error = {"message": message, "type": row.kind, "param": row.param, "code": row.code}
        assert (answer.status_code, answer.content) == (row.status, encode({"error": error}))
        assert row.message in message

    async def test_apipie_has_its_codes_and_wording(
        self, keyed_gateway: KeyedGateway, service: Service, name: str
    ) -> None:
        """OpenAI's four keys, with APIpie's codes and wording."""
        row = ROWS[name]
        answer = await send_failing_request(keyed_gateway, service.fake, PATHS["apipie"], row)
        message = answer.json()["error"]["message"]
        kind = REQUEST if row.status == 400 else row.kind
        error = {"message": message, "type": kind, "param": row.param, "code": row.apipie or row.code}
        assert (answer.status_code, answer.content) == (row.status, encode({"error": error}))
        assert APIPIE_MESSAGES.get(name, message) == message
        assert row.message in message

    async def test_aqueduct_has_no_null(self, keyed_gateway: KeyedGateway, service: Service, name: str) -> None:
        """A type that follows from the status, and no key that is null."""
        row = ROWS[name]
        answer = await send_failing_request(keyed_gateway, service.fake, PATHS["aqueduct"], row)
        message = answer.json()["error"]["message"]
        error = {"message": message, "type": row.aqueduct, "param": row.param, "code": row.code}
        known = {key: value for key, value in error.items() if value is not None}
        assert (answer.status_code, answer.content) == (row.status, encode({"error": known}))
        assert message == "Authentication Required" if row.status == 401 else row.message in message

    async def test_agent_ai_has_text_and_status(self, keyed_gateway: KeyedGateway, service: Service, name: str) -> None:
        """A text and the status; a missing or invalid key is 403."""
        row = ROWS[name]
        answer = await send_failing_request(keyed_gateway, service.fake, PATHS["agent.ai"], row)
        status = 403 if row.status == 401 else row.status
        text = answer.json()["error"]
        assert (answer.status_code, answer.content) == (status, encode({"error": text, "status": status}))
        assert text == AGENT_AI_MESSAGES[name] if name in AGENT_AI_MESSAGES else row.message in text

    async def test_oxen_has_both_documented_formats(
        self, keyed_gateway: KeyedGateway, service: Service, name: str
    ) -> None:
        """The keys of both documented formats."""
        row = ROWS[name]
        answer = await send_failing_request(keyed_gateway, service.fake, PATHS["oxen"], row)
        detail = answer.json()["error"]["detail"]
        titles = {
            NO_KEY: "Unauthenticated",
            INVALID: "Invalid parameters",
            NOT_FOUND: "Resource not found",
            UNKNOWN: "Unknown error",
        }
        error = {"type": row.oxen, "title": titles[row.oxen], "detail": detail, "message": detail}
        body = {"error": error, "status": "error", "status_message": row.oxen}
        assert (answer.status_code, answer.content) == (row.status, encode(body))
        assert detail == OXEN_MESSAGES[name] if name in OXEN_MESSAGES else row.message in detail


LIMITED: dict[str, Any] = {
    "openai": {"type": "requests", "param": None, "code": "rate_limit_exceeded"},
    "apipie": {"type": "requests", "param": None, "code": "rate_limit_exceeded"},
    "aqueduct": {"type": "rate_limit_error", "code": "rate_limit_exceeded"},
}


@pytest.mark.parametrize("vendor", PATHS)
async def test_rate_limit_says_when_to_retry(keyed_gateway: KeyedGateway, service: Service, vendor: str) -> None:
    """A client over its rate limit learns when to retry and the state of the limit, in the vendor's format."""
    headers = {"authorization": f"Bearer {keyed_gateway.keys[vendor]}"}
    first, answer = [
        await keyed_gateway.client.post(PATHS[vendor], json={"prompt": "x"}, headers=headers) for _ in range(2)
    ]
    assert (first.status_code, first.headers["x-ratelimit-remaining-requests"]) == (200, "0")
    assert answer.status_code == 429
    assert answer.headers["x-ratelimit-limit-requests"] == "1"
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-ratelimit-reset-requests"]
    assert 0 < int(answer.headers["retry-after-ms"]) <= 1000 * int(answer.headers["retry-after"]) <= 60_000
    problem = answer.json()["error"]
    text = problem if isinstance(problem, str) else problem["message"]
    assert text.startswith("The limit is 1 requests per minute.")
    bodies = {
        "agent.ai": {"error": text, "status": 429},
        "oxen": {
            "error": {"type": UNKNOWN, "title": "Unknown error", "detail": text, "message": text},
            "status": "error",
            "status_message": UNKNOWN,
        },
    }
    assert answer.content == encode(bodies.get(vendor) or {"error": {"message": text} | LIMITED[vendor]})
    assert len(service.fake.requests) == 1


@pytest.mark.parametrize(
    ("prefix", "error"),
    [
        ("", {"type": REQUEST, "param": "model", "code": "model_not_found"}),
        ("/openai", {"type": REQUEST, "param": "model", "code": "model_not_found"}),
        ("/apipie", {"type": REQUEST, "param": "model", "code": "model_not_found"}),
        ("/aqueduct", {"type": "not_found_error", "param": "model", "code": "model_not_found"}),
    ],
)
async def test_model_errors_have_the_vendors_format(
    gateway: httpx.AsyncClient, prefix: str, error: dict[str, str]
) -> None:
    """Below a vendor's name, errors of requests for models are in its format, too."""
    answer = await gateway.get(f"{prefix}/v1/models/nope")
    assert (answer.status_code, answer.content) == (404, encode({"error": {"message": "no nope"} | error}))


@pytest.mark.parametrize(
    ("vendor", "error"),
    [
        ("openai", {"type": SERVER, "param": None, "code": "timeout"}),
        ("apipie", {"type": SERVER, "param": None, "code": "timeout"}),
        ("aqueduct", {"type": "timeout_error", "code": "timeout"}),
    ],
)
async def test_stream_errors_are_events(
    gateway: httpx.AsyncClient, fake: FakeService, vendor: str, error: dict[str, Any]
) -> None:
    """An error in a stream that has begun is an event in the vendor's format, followed by the end."""
    refusal = Refusal(Code.DEADLINE_EXCEEDED, "It was not in time.", "DEADLINE_EXCEEDED")

    async def fail_in_stream(request: pb.GenerateImagesRequest, context: Any) -> AsyncIterator[pb.StreamImagesResponse]:
        yield pb.StreamImagesResponse(queued=pb.Queued(position=0))
        async for event in refusal(request, context):
            yield event

    fake.behave = fail_in_stream
    answer = await gateway.post(PATHS[vendor], json={"prompt": "x", "stream": True})
    assert answer.status_code == 200
    expected = encode({"error": {"message": "It was not in time."} | error}).decode()
    assert answer.text == f"event: error\ndata: {expected}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("vendor", ["agent.ai", "oxen"])
async def test_stream_is_unknown_without_streams(gateway: httpx.AsyncClient, fake: FakeService, vendor: str) -> None:
    """For a vendor without streams, `stream` is an unknown key, and the response is the usual one."""
    answer = await gateway.post(PATHS[vendor], json={"prompt": "x", "stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-tintype-ignored"] == "stream"
    assert len(fake.requests) == 1
