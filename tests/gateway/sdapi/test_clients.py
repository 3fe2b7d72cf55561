"""Clients of the web UI, each with the calls that it makes, against a running gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.bodies import (
    BASE,
    BODIES,
    DIFY,
    KOBOLD,
    OPEN_WEBUI,
    SILLY_TAVERN,
    encode_base64,
    make_images,
    open_image,
    png,
)
from tests.support.gateway.fakes import config, running_gateway

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.support.gateway.fakes import FakeService, Service

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def fake(fake: FakeService) -> FakeService:
    """A service that makes real image files."""
    fake.behave = make_images
    return fake


async def post(gateway: httpx.AsyncClient, path: str, body: Any, **more: Any) -> Any:
    answer = await gateway.post(f"{BASE}/{path}", json=body, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def get(gateway: httpx.AsyncClient, path: str, **more: Any) -> Any:
    answer = await gateway.get(f"{BASE}/{path}", **more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("client", BODIES)
async def test_client_bodies_make_their_images(gateway: httpx.AsyncClient, fake: FakeService, client: str) -> None:
    """The body of each client makes exactly its images: PNG files, each with a seed and an infotext in `info`."""
    body = BODIES[client]
    answer = await post(gateway, "txt2img", body)
    assert set(answer) == {"images", "parameters", "info"}
    info = json.loads(answer["info"])
    count = body.get("batch_size", 1)
    assert len(answer["images"]) == len(info["all_seeds"]) == len(info["infotexts"]) == count
    for image, text in zip(map(open_image, answer["images"]), info["infotexts"], strict=True):
        assert (image.format, image.size) == ("PNG", (body["width"], body["height"]))
        assert image.info["parameters"] == text
    assert (info["width"], info["height"]) == (body["width"], body["height"])
    assert (
        info["seed"] == info["all_seeds"][0] == (body["seed"] if body.get("seed", -1) >= 0 else fake.requests[0].seed)
    )
    assert fake.requests[0].steps == body["steps"]


async def test_open_webui_calls(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Its header is ignored; it lists models, sends all options back with another model, and gets that model."""
    headers = {"authorization": "Basic"}
    before = await get(gateway, "options", headers=headers)
    models = await get(gateway, "sd-models", headers=headers)
    assert before["sd_model_checkpoint"] in [model["title"] for model in models]
    assert [model["model_name"] for model in models] == ["tiny", "org/large"]
    answer = await gateway.post(f"{BASE}/options", json=before | {"sd_model_checkpoint": "org/large"}, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"null")
    assert (await get(gateway, "options"))["sd_model_checkpoint"] == "org/large"
    await post(gateway, "txt2img", OPEN_WEBUI, headers=headers)
    assert [request.model for request in fake.requests] == ["org/large"]
    await post(gateway, "options", before)


async def test_silly_tavern_calls(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Its lists have names; after a change of the model it sees an idle server; its image is as requested."""
    headers = {"authorization": "Basic dW5kZWZpbmVk"}
    assert "forge_preset" not in await get(gateway, "options", headers=headers)
    assert "Euler a" in [one["name"] for one in await get(gateway, "samplers")]
    assert [one["name"] for one in await get(gateway, "schedulers")] == ["automatic", "karras", "normal"]
    assert (await get(gateway, "upscalers"))[0]["name"] == "None"
    assert await get(gateway, "latent-upscale-modes") == []
    assert await get(gateway, "sd-vae") == []
    await post(gateway, "options", {"sd_model_checkpoint": "tiny"})
    idle = await get(gateway, "progress")
    assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
    await post(gateway, "txt2img", SILLY_TAVERN, headers=headers)
    received = fake.requests[0]
    assert (received.sampler, received.schedule, received.seed) == ("euler_ancestral", "karras", 7)


async def test_stable_diffusion_cpp_ping(gateway: httpx.AsyncClient) -> None:
    """Its ping is OPTIONS without an origin."""
    assert (await gateway.options("/v1/images/generations")).status_code < 300


async def test_dify_calls(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """JSON without a content type is parsed; an unknown sampler is not an error, and the infotext names it."""
    assert (await gateway.post(f"{BASE}/options", content=b'{"sd_model_checkpoint": "tiny"}')).status_code == 200
    answer = await gateway.post(f"{BASE}/txt2img", content=json.dumps(DIFY).encode())
    assert answer.status_code == 200
    assert answer.headers["x-tintype-ignored"] == "sampler_name"
    assert json.loads(answer.json()["info"])["infotexts"][0].endswith("Ignored: sampler_name DPM++ SDE Karras")
    received = fake.requests[0]
    assert (received.sampler, received.schedule, received.HasField("eta")) == ("", "", False)
    body = {"init_images": [encode_base64(png())], "denoising_strength": 0.9, "prompt": "x", "sampler_name": "Euler a"}
    await post(gateway, "img2img", body | {"script_args": ["outpainting mk2"]})
    assert fake.requests[1].strength == pytest.approx(0.9)


async def test_koboldai_lite_calls(service: Service, tmp_path: Path) -> None:
    """A page of an allowed origin may request and post JSON, and finds what it looks for."""
    page = {"origin": "https://lite.koboldai.net", "sec-fetch-site": "cross-site"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    async with running_gateway(config(service, tmp_path, cors=(page["origin"],))) as gateway:
        preflight = await gateway.options(f"{BASE}/txt2img", headers=page | asks)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-headers"] == "content-type"
        models = await gateway.get(f"{BASE}/sd-models", headers=page)
        assert models.headers["access-control-allow-origin"] == page["origin"]
        assert models.json()[0]["filename"]
        assert (await get(gateway, "options"))["samples_format"] == "png"
        made = await gateway.post(f"{BASE}/txt2img", json=KOBOLD, headers=page)
        assert (made.status_code, made.headers["access-control-allow-origin"]) == (200, page["origin"])


async def test_photoshop_plugin_calls(gateway: httpx.AsyncClient) -> None:
    """Responses to posts with an empty body are JSON, and it reads the infotext of its image back."""
    headers = {"content-type": "application/json"}
    assert (await gateway.post(f"{BASE}/interrupt", headers=headers)).json() == {}
    made = await post(gateway, "txt2img", BODIES["photoshop"])
    result = await post(gateway, "png-info", {"image": f"data:image/png;base64,{made['images'][0]}"})
    assert result["info"] == json.loads(made["info"])["infotexts"][0]
    assert set(result) == {"info", "items", "parameters"}
    assert result["parameters"]["Sampler"] == "Euler a"


async def test_gimp_plugin_calls(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """URLs may end in a question mark or a slash; a batch above the service's limit is made in two calls."""
    answer = await gateway.post(f"{BASE}/txt2img?", json=BODIES["gimp"])
    seeds = json.loads(answer.json()["info"])["all_seeds"]
    assert [request.count for request in fake.requests] == [10, 2]
    assert seeds == list(range(seeds[0], seeds[0] + 12))
    assert (await gateway.get(f"{BASE}//sd-models/")).status_code == 200
