"""The gateway in front of the proxies of Ray Serve."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

pytestmark = pytest.mark.slow

PATH = "/v1/images/generations"


def post(gateway: str, **fields: object) -> httpx.Response:
    return httpx.post(gateway + PATH, json={"prompt": "a lake", "steps": 4, **fields}, timeout=60)


def test_image(gateway: str) -> None:
    """Images come as links and as base64."""
    link = post(gateway).json()["data"][0]["url"]
    assert httpx.get(link).content.startswith(b"\x89PNG")
    data = post(gateway, response_format="b64_json", n=2).json()["data"]
    assert [base64.b64decode(image["b64_json"])[:4] for image in data] == [b"\x89PNG"] * 2


@pytest.mark.parametrize(
    ("fields", "status"), [({"model": "nope"}, 404), ({"steps": 900}, 400), ({"size": "9x9"}, 400)]
)
@pytest.mark.parametrize("streamed", [False, True])
def test_errors(gateway: str, fields: dict[str, object], status: int, streamed: bool) -> None:  # noqa: FBT001
    """An error before the first event has its own status, also if the client asked for a stream."""
    response = post(gateway, **fields, **({"stream": True} if streamed else {}))
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_stream_with_previews(gateway: str) -> None:
    """Previews and the image arrive as server-sent events."""
    text = post(gateway, stream=True, partial_images=2, steps=8).text
    events = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert events == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    last = next(line for line in text.splitlines() if line.startswith('data: {"type":"image_generation.completed"'))
    assert base64.b64decode(json.loads(last.removeprefix("data: "))["b64_json"]).startswith(b"\x89PNG")


def test_models(gateway: str) -> None:
    """The models of the replicas are listed."""
    assert "tintype-demo" in {model["id"] for model in httpx.get(f"{gateway}/v1/models").json()["data"]}
