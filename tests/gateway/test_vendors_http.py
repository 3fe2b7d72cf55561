"""The vendors' clients against a running gateway: their paths, responses and errors over HTTP."""

from __future__ import annotations

from html import unescape
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from tests.support.gateway.fakes import PATH, PNG, FakeService, Refusal, Service, config, running_gateway

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

PATHS = {
    "agent.ai": "/v1/action/generate_image",
    "oxen": "/api/ai/images/generate",
    "apipie": "/apipie/v1/images/generations",
    "aqueduct": "/aqueduct/images/generations",
}
NO_MODEL = Refusal(grpc.StatusCode.NOT_FOUND, "no nope", "MODEL_NOT_FOUND", {"model": "nope"})


async def test_agent_ai_sdks_default_request(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The SDK's default request works; the response has the keys that it reads, and the link needs no key."""
    body = {"prompt": 'a "lake"', "model": "DALL-E 3", "model_style": "digital art", "model_aspect_ratio": "3:4"}
    answer = await gateway.post(PATHS["agent.ai"], json=body, headers={"authorization": "Bearer any"})
    assert answer.status_code == 200
    data = answer.json()
    assert set(data) == {"metadata", "response", "status"}
    link = data["metadata"]["images"][0]["url"]
    assert link.endswith(".png")
    assert data["response"] == f'<img src="{link}" alt="a &quot;lake&quot;" /><br />'
    assert unescape(data["response"]).count(link) == 1
    async with httpx.AsyncClient(trust_env=False) as stranger:
        assert (await stranger.get(link)).content == PNG + b"\0"
    asked = fake.requests[0]
    assert (asked.model, asked.style, asked.width, asked.height) == ("", "digital art", 864, 1152)


@pytest.mark.parametrize("path", ["/action/generate_image", "/agent.ai/v1/action/generate_image"])
async def test_agent_ai_without_version_and_below_its_name(gateway: httpx.AsyncClient, path: str) -> None:
    """It is served without the version, and below its name."""
    answer = await gateway.post(path, json={"prompt": "x", "model": "FLUX.1 [schnell]"})
    assert answer.json()["status"] == 200


async def test_oxen_response(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Images are under `images`, the model is the name in the request, and unknown keys are not an error."""
    body = {"prompt": "x", "model": "dall-e-3", "n": 2, "safety_tolerance": "5"}
    answer = await gateway.post(PATHS["oxen"], json=body)
    assert answer.json()["model"] == "dall-e-3"
    assert [set(one) for one in answer.json()["images"]] == [{"url"}] * 2
    assert fake.requests[0].model == ""


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("agent.ai", {"error": "no nope", "status": 404}),
        (
            "oxen",
            {
                "error": {
                    "type": "resource_not_found",
                    "title": "Resource not found",
                    "detail": "Model not found: nope",
                    "message": "Model not found: nope",
                },
                "status": "error",
                "status_message": "resource_not_found",
            },
        ),
        (
            "apipie",
            {
                "error": {
                    "message": "no nope",
                    "type": "invalid_request_error",
                    "param": "model",
                    "code": "model_not_found",
                }
            },
        ),
        (
            "aqueduct",
            {
                "error": {
                    "message": "no nope",
                    "type": "not_found_error",
                    "param": "model",
                    "code": "model_not_found",
                }
            },
        ),
    ],
)
async def test_service_error_in_the_vendors_format(
    gateway: httpx.AsyncClient, fake: FakeService, name: str, body: Any
) -> None:
    """An error of the service is in the vendor's format."""
    fake.behave = NO_MODEL
    answer = await gateway.post(PATHS[name], json={"prompt": "x", "model": "nope"})
    assert (answer.status_code, answer.json()) == (404, body)


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        (PATHS["agent.ai"], {"error", "status"}),
        (PATHS["oxen"], {"error", "status", "status_message"}),
        ("/oxen/nothing", {"error", "status", "status_message"}),
        (PATHS["aqueduct"], {"error"}),
    ],
)
async def test_router_error_in_the_vendors_format(gateway: httpx.AsyncClient, path: str, shape: set[str]) -> None:
    """Errors outside of handlers are in the vendor's format, too."""
    answer = await gateway.get(path)
    assert answer.status_code in (404, 405)
    assert set(answer.json()) == shape
    answer = await gateway.post(path, content=b"{", headers={"content-type": "application/json"})
    assert set(answer.json()) == shape


@pytest.mark.parametrize("name", ["agent.ai", "apipie"])
async def test_missing_style_is_reported_only_if_sent(gateway: httpx.AsyncClient, fake: FakeService, name: str) -> None:
    """A style that the model doesn't have is dropped, and reported only if the client sent it."""
    behave = fake.behave

    async def without(request: Any, context: Any) -> Any:
        refusal = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "x", "INVALID_FIELD", violations=[("style", "none")])
        async for event in (refusal if request.style else behave)(request, context):
            yield event

    fake.behave = without
    answer = await gateway.post(PATHS[name], json={"prompt": "x", "model_style": "photo"})
    assert answer.status_code == 200
    assert answer.headers["x-tintype-ignored"] == "model_style"
    assert len(fake.requests) == 2


async def test_shared_path_has_the_configured_dialect(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """The configuration chooses the dialect of the shared paths; the others keep their prefixes."""
    async with running_gateway(config(service, tmp_path, dialect="apipie")) as client:
        answer = await client.post(PATH, json={"prompt": "x"})
        assert set(answer.json()["data"][0]) == {"url"}
        assert fake.requests[0].style == "natural"
        answer = await client.post(PATH, json={"prompt": "x", "n": 11})
        assert answer.json()["error"]["code"] == "invalid_parameter"
        answer = await client.post("/openai/v1/images/generations", json={"prompt": "x"})
        assert set(answer.json()["data"][0]) == {"url", "seed"}
