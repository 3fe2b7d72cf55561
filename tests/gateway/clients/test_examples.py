"""The examples of `/openapi.json`, unchanged, with a real model."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gateway.summary import ImageSummary

pytestmark = pytest.mark.slow

TIMEOUT = 180  # seconds for one response, on a busy machine


def example_requests(description: dict[str, Any]) -> dict[tuple[str, str], tuple[str, str, Any]]:
    """Method, path and body of each request that has an example; the same request under several paths is there once."""
    found: dict[tuple[str, str], tuple[str, str, Any]] = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if media is not None:
                key = (operation.get("tags", [path])[0], repr(media))  # operations of models have no tag
                found.setdefault(key, (method, path, media["example"]))
    return found


def image_files(answer: Any) -> list[bytes]:
    """The images in a response of any dialect."""
    images = answer.get("data") or answer.get("images") or answer.get("metadata", {}).get("images") or []
    own = [one if isinstance(one, str) else one.get("b64_json") for one in images]
    links = [one["url"] for one in images if isinstance(one, dict) and one.get("url")]
    fetched = [httpx.get(link, trust_env=False).content for link in links]
    return [base64.b64decode(one) for one in own if one] + fetched


def test_openapi_examples_succeed(gateway_url: str, open_image: Callable[[bytes], ImageSummary]) -> None:
    """Each example is answered with 2xx, and requests for images with images."""
    with httpx.Client(base_url=gateway_url, timeout=TIMEOUT, trust_env=False) as client:
        requests = list(example_requests(client.get("/openapi.json").json()).values())
        image_count = 0
        for method, path, body in requests:
            answer = client.request(method, path, json=body)
            assert answer.status_code == (202 if path.endswith("/jobs") else 200), (path, body, answer.text[:500])
            for file in image_files(answer.json() or {}) if answer.status_code == 200 else ():
                open_image(file)
                image_count += 1
    assert len(requests) >= 17
    assert image_count >= 14
