"""Requests of applications, as in their sources, and the parts of the response that they read.

One row for each application: its request, and the keys that it requires. A client that reads base64 must get the file.
A client that reads links must get a link that ends in the file's type and opens without a key.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.gateway.fakes import PNG, SMALLEST_PNG, FakeService, Service, config, running_gateway

if TYPE_CHECKING:
    from pathlib import Path

    from tintype.v1 import image_service_pb2 as pb

pytestmark = pytest.mark.anyio

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
B64, URL = "b64_json", "url"
IMAGE = base64.b64decode(SMALLEST_PNG)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A request, the key that its client `reads`, and fields of the request to the service (`expected`).

    A body is JSON, or with `files` a form, whose fields are all text.
    """

    path: str = GENERATIONS
    body: dict[str, Any]
    reads: str
    files: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=lambda: {"authorization": "Bearer sk-any"})
    expected: dict[str, Any] = field(default_factory=dict)
    count: int = 1


CLIENTS = {
    "Open WebUI": Client(
        body={"model": "dall-e-2", "prompt": "x", "n": 1, "size": "512x512", "response_format": "b64_json"},
        headers={"authorization": "Bearer"},
        reads=B64,
        expected={"width": 512, "height": 512},
    ),
    "Open WebUI, gpt-image": Client(
        path=f"{GENERATIONS}?api-version=2025-04-01-preview",
        body={"model": "gpt-image-1.5", "prompt": "x", "n": 1, "size": "auto", "quality": "low"},
        reads=B64,
        expected={"quality": "low"},
    ),
    "Open WebUI, edit": Client(
        path=EDITS,
        body={"model": "gpt-image-1", "prompt": "x", "n": "1", "size": "512x512", "background": "auto"},
        files=("image[]", "image[]"),
        reads=B64,
        expected={"image": IMAGE, "width": 512},
    ),
    "LibreChat, gpt-image": Client(
        body={
            "model": "gpt-image-1",
            "prompt": "x",
            "n": 2,
            "background": "auto",
            "output_format": "webp",
            "output_compression": 80,
            "quality": "auto",
            "size": "auto",
        },
        reads=B64,
        count=2,
        expected={"quality": ""},
    ),
    "LibreChat, edit at Azure": Client(
        path="/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview",
        body={"model": "gpt-image-1", "prompt": "x", "quality": "high", "size": "auto"},
        files=("image[]",),
        headers={"api-key": "any"},
        reads=B64,
        expected={"quality": "high", "image": IMAGE},
    ),
    "LibreChat, DALL-E 3": Client(
        body={"model": "dall-e-3", "prompt": "x", "quality": "hd", "style": "natural", "size": "1792x1024", "n": 1},
        reads=URL,
        expected={"quality": "hd", "style": "natural", "width": 1792},
    ),
    "AnythingLLM": Client(
        body={"model": "tiny", "prompt": "x", "size": "768x512", "n": 1},
        headers={"authorization": "Bearer null"},
        reads=URL,
        expected={"model": "tiny", "width": 768},
    ),
    "AnythingLLM, edit": Client(
        path=EDITS,
        body={"model": "tiny", "prompt": "x", "size": "1024x1024", "n": "1"},
        files=("image", "image", "image"),
        reads=B64,
        expected={"image": IMAGE},
    ),
    "LobeChat": Client(
        body={
            "model": "tiny",
            "n": 1,
            "prompt": "x",
            "width": 96,
            "height": 64,
            "seed": None,
            "cfg": 4.5,
            "steps": 12,
            "imageUrls": [],
        },
        reads=URL,
        expected={"width": 96, "height": 64, "guidance_scale": 4.5, "steps": 12},
    ),
    "LobeChat, edit": Client(
        path=EDITS,
        body={"model": "gpt-image-1", "prompt": "x", "n": "1", "input_fidelity": "high"},
        files=("image",),
        reads=B64,
        expected={"image": IMAGE},
    ),
    "Vercel AI SDK": Client(
        body={"model": "tiny", "prompt": "x", "n": 1, "size": "1024x1024", "response_format": "b64_json", "seed": 5},
        reads=B64,
        expected={"seed": 5},
    ),
    "Vercel AI SDK, edit": Client(
        path=EDITS, body={"model": "tiny", "prompt": "x", "n": "1"}, files=("image", "mask"), reads=B64
    ),
    "Vercel AI SDK, OpenAI's provider": Client(
        body={"model": "chatgpt-image-latest", "prompt": "x", "n": 1, "partial_images": 0, "moderation": "low"},
        reads=B64,
    ),
    "n8n": Client(
        body={"prompt": "x", "model": "gpt-image-1-mini", "quality": "medium", "size": "1024x1024"},
        headers={"authorization": "Bearer sk-any", "openai-organization": ""},
        reads=B64,
        expected={"quality": "medium"},
    ),
    "n8n, a link": Client(
        body={"prompt": "x", "model": "dall-e-3", "response_format": "url", "quality": "standard", "style": "vivid"},
        reads=URL,
    ),
    "n8n, edit": Client(
        path=EDITS,
        body={
            "model": "gpt-image-1",
            "prompt": "x",
            "n": "1",
            "size": "auto",
            "quality": "auto",
            "background": "auto",
            "input_fidelity": "low",
            "output_format": "jpeg",
            "output_compression": "90",
            "user": "me",
        },
        files=("image[]", "mask"),
        reads=B64,
        expected={"caller": "me", "mask": IMAGE},
    ),
    "Home Assistant": Client(
        body={
            "model": "dall-e-3",
            "prompt": "x",
            "size": "1024x1792",
            "quality": "standard",
            "style": "vivid",
            "response_format": "url",
            "n": 1,
        },
        reads=URL,
        expected={"height": 1792},
    ),
    "LiteLLM": Client(
        body={"model": "tiny", "prompt": "x", "n": 1, "size": "512x512", "seed": 3, "guidance_scale": 2},
        reads=URL,
        expected={"seed": 3, "guidance_scale": 2.0},
    ),
    "LangChain": Client(
        body={"prompt": "x", "model": "dall-e-2", "n": 1, "size": "1024x1024", "quality": "standard"}, reads=URL
    ),
    "LlamaIndex": Client(
        body={
            "prompt": "x",
            "model": "dall-e-3",
            "n": 1,
            "quality": "standard",
            "size": "1024x1024",
            "response_format": "url",
            "style": "vivid",
        },
        reads=URL,
    ),
    "Dify": Client(
        body={
            "prompt": "x",
            "model": "dall-e-3",
            "size": "1024x1792",
            "n": 1,
            "style": "vivid",
            "quality": "hd",
            "response_format": "b64_json",
        },
        reads=B64,
    ),
    "Spring AI": Client(
        body={"prompt": "x", "model": "dall-e-3", "n": 1, "size": "1024x1024", "response_format": "url"}, reads=URL
    ),
    "Spring AI, a base with a slash": Client(path=f"/{GENERATIONS}", body={"prompt": "x", "n": 1}, reads=URL),
    "Semantic Kernel": Client(
        body={"prompt": "x", "model": "dall-e-2", "response_format": "url", "size": "640x480"},
        reads=URL,
        expected={"width": 640},
    ),
    "Microsoft.Extensions.AI": Client(
        body={"prompt": "x", "model": "gpt-image-1", "n": 1, "output_format": "jpeg"}, reads=B64
    ),
    "KoboldAI Lite": Client(
        path="/images/generations",
        body={"model": "tiny", "prompt": "x", "n": 1, "size": "1024x1024", "response_format": "b64_json"},
        headers={"authorization": "Bearer", "origin": "https://lite.koboldai.net"},
        reads=B64,
    ),
    "KoboldAI Lite, gpt-image-1": Client(
        path=f"{GENERATIONS}/",
        body={"model": "gpt-image-1", "prompt": "x", "n": 1, "size": "1024x1024", "quality": "medium"},
        headers={"origin": "https://lite.koboldai.net"},
        reads=B64,
    ),
    "Aqueduct": Client(
        body={"model": "dall-e-2", "prompt": "x", "n": 1, "size": "256x256", "response_format": "b64_json"},
        reads=B64,
        expected={"width": 256},
    ),
}


@pytest.mark.parametrize("name", CLIENTS)
async def test_client_finds_what_it_reads(service: Service, tmp_path: Path, name: str) -> None:
    """Its request is accepted without a warning that it would show, and every image is where it reads it.

    The origin of a client that is a web page is allowed, as the documentation says.
    """
    client = CLIENTS[name]
    origin = client.headers.get("origin")
    async with running_gateway(config(service, tmp_path, cors=(origin,) if origin else ())) as gateway:
        await check_client(gateway, service.fake, client)


async def check_client(gateway: httpx.AsyncClient, fake: FakeService, client: Client) -> None:
    """Send a client's request, and read the response as the client does."""
    answer = await send(gateway, client)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    check_strictly(answer.json())
    data = answer.json()["data"]
    assert len(data) == client.count
    for index, one in enumerate(data):
        assert (URL in one) == (client.reads == URL)
        assert (B64 in one) == (client.reads == B64)
        assert await read_image(one) == PNG + bytes([index])
    made = fake.requests[0]
    assert {key: getattr(made, key) for key in client.expected} == client.expected
    if "origin" in client.headers:
        assert answer.headers["access-control-allow-origin"] == client.headers["origin"]


async def send(gateway: httpx.AsyncClient, client: Client) -> httpx.Response:
    """Send a client's request to the exact URL that it would use."""
    url = f"{str(gateway.base_url).rstrip('/')}{client.path}"
    if not client.files:
        return await gateway.post(url, json=client.body, headers=client.headers)
    files = [(name, ("blob", IMAGE, "application/octet-stream")) for name in client.files]
    return await gateway.post(url, data=client.body, files=files, headers=client.headers)


def check_strictly(answer: dict[str, Any]) -> None:
    """Find values that strict clients reject: a null, a time that is not an integer, an incomplete `usage`."""
    assert type(answer["created"]) is int
    assert None not in [*answer.values(), *(value for one in answer["data"] for value in one.values())]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert set(usage["input_tokens_details"]) == {"text_tokens", "image_tokens"}


async def read_image(one: dict[str, Any]) -> bytes:
    """Return the image, as strict clients decode base64, and as they fetch a link: without a key."""
    if B64 in one:
        return base64.b64decode(one[B64], validate=True)
    link = urlsplit(one[URL])
    assert link.scheme
    assert link.path.endswith(".png")
    async with httpx.AsyncClient(trust_env=False) as keyless:
        found = await keyless.get(one[URL])
        assert (await keyless.head(one[URL])).headers["content-type"] == found.headers["content-type"] == "image/png"
    return found.content


@pytest.mark.parametrize("base", ["", "/", "/v1", "/v1/", "//v1"])
@pytest.mark.parametrize("end", ["", "/", "?", "/?", "?api-version=1"])
@pytest.mark.parametrize("action", ["images/generations", "models", "models/org/large"])
async def test_base_urls_are_served_without_redirect(
    gateway: httpx.AsyncClient, base: str, action: str, end: str
) -> None:
    """With and without `/v1`, with doubled slashes, a slash at the end or a bare `?`: it is served, not redirected."""
    url = f"{str(gateway.base_url).rstrip('/')}{base}/{action}{end}"
    if action.startswith("models"):
        answer = await gateway.get(url)
    else:
        answer = await gateway.post(url, json={"prompt": "x"})
    assert answer.status_code == 200, (url, answer.text)


@pytest.mark.parametrize("path", [GENERATIONS, EDITS, "/v1/models", "/v1/models/x", "/", "/docs", "/openapi.json"])
async def test_bare_options_succeed(gateway: httpx.AsyncClient, path: str) -> None:
    """SillyTavern pings by OPTIONS without an origin."""
    assert (await gateway.options(path)).status_code == 204


@pytest.mark.parametrize(
    ("files", "ignored"),
    [(("image[]",) * 16, [f"image[{index}]" for index in range(1, 16)]), (("image[0]", "image[1]"), ["image[1]"])],
)
async def test_16_files_are_accepted(
    gateway: httpx.AsyncClient, fake: FakeService, files: tuple[str, ...], ignored: list[str]
) -> None:
    """As many files as OpenAI accepts are accepted; those without effect are named."""
    answer = await send(gateway, Client(path=EDITS, body={"prompt": "x"}, files=files, reads=B64))
    assert answer.status_code == 200
    assert answer.headers["x-tintype-ignored"].split(", ") == ignored
    requests: list[pb.GenerateImagesRequest] = fake.requests
    assert requests[0].image == IMAGE


async def test_lobechat_keeps_the_models(gateway: httpx.AsyncClient) -> None:
    """LobeChat keeps a fetched model that it does not know only with a type and parameters."""
    for one in (await gateway.get("/v1/models")).json()["data"]:
        assert one["type"] == "image"
        assert {"prompt", "width", "height", "steps", "cfg", "seed"} <= set(one["parameters"])
        assert type(one["created"]) is int
