"""The paths below `/sdapi/v1`, in the formats that clients read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.support.gateway.bodies import BASE, encode_base64, open_image, png, png_of
from tintype.gateway.app import create_app
from tintype.gateway.config import GatewayConfig
from tintype.gateway.requests import reply

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.support.gateway.fakes import FakeService

pytestmark = pytest.mark.anyio


async def get(gateway: httpx.AsyncClient, path: str) -> Any:
    answer = await gateway.get(f"{BASE}/{path}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def test_lists_models(gateway: httpx.AsyncClient) -> None:
    """A model has the same name in every field that clients may send back, and null where the web UI may have null."""
    assert (await get(gateway, "sd-models"))[1] == {
        "title": "org/large",
        "model_name": "org/large",
        "hash": None,
        "sha256": None,
        "filename": "org/large",
        "config": None,
    }


async def test_lists_samplers_and_schedules(gateway: httpx.AsyncClient) -> None:
    """Samplers and schedules are the model's own, under the names of the web UI."""
    found = await get(gateway, "samplers")
    assert found[-1] == {
        "name": "Euler a",
        "aliases": ["euler_ancestral", "k_euler_a", "k_euler_ancestral"],
        "options": {},
    }
    assert [one["name"] for one in found] == ["DDIM", "DPM++ 2M", "Euler", "Euler a"]
    automatic, karras, _ = await get(gateway, "schedulers")
    assert automatic["label"] == "Automatic"
    assert set(automatic) == {"name", "label", "aliases", "default_rho", "need_inner_model"}
    assert (karras["name"], karras["label"]) == ("karras", "Karras")


async def test_lists_upscalers(gateway: httpx.AsyncClient) -> None:
    """`None` comes first."""
    found = await get(gateway, "upscalers")
    assert [one["name"] for one in found] == ["None", "tintype", "Lanczos", "Nearest"]
    assert all(set(one) == {"name", "model_name", "model_path", "model_url", "scale"} for one in found)


async def test_lists_loras(gateway: httpx.AsyncClient) -> None:
    """The model's adapters are listed by the names that prompts use."""
    assert await get(gateway, "loras") == [{"name": "ink", "alias": "ink", "path": "ink", "metadata": {}}]


async def test_lists_embeddings(gateway: httpx.AsyncClient) -> None:
    """The model's embeddings are listed by the names that prompts use, with the web UI's keys."""
    found = await get(gateway, "embeddings")
    assert list(found["loaded"]) == ["<cat>", "EasyNegative"]
    assert set(found["loaded"]["<cat>"]) == {"step", "sd_checkpoint", "sd_checkpoint_name", "shape", "vectors"}
    assert found["skipped"] == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("extensions", []),
        ("face-restorers", []),
        ("hypernetworks", []),
        ("latent-upscale-modes", []),
        ("prompt-styles", []),
        ("realesrgan-models", []),
        ("script-info", []),
        ("scripts", {"txt2img": ["controlnet"], "img2img": ["controlnet"]}),
        ("sd-vae", []),
    ],
)
async def test_missing_features_are_empty(gateway: httpx.AsyncClient, path: str, body: Any) -> None:
    """Features that tintype does not have are empty lists or objects, as in the web UI without extensions."""
    assert await get(gateway, path) == body


async def test_unknown_memory_is_reported_as_errors(gateway: httpx.AsyncClient) -> None:
    """Facts that the gateway cannot know are reported as errors, as in the web UI; flags are an object."""
    memory = await get(gateway, "memory")
    assert set(memory) == {"ram", "cuda"}
    assert all("error" in part for part in memory.values())
    assert isinstance(await get(gateway, "cmd-flags"), dict)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("interrupt", {}),
        ("skip", None),
        ("refresh-checkpoints", None),
        ("refresh-loras", None),
        ("refresh-vae", None),
        ("reload-checkpoint", {}),
        ("unload-checkpoint", {}),
    ],
)
async def test_posts_without_a_body_are_accepted(gateway: httpx.AsyncClient, path: str, body: Any) -> None:
    """A post without a body is accepted, with or without a content type, and answered with JSON."""
    for headers in ({}, {"content-type": "application/json"}):
        answer = await gateway.post(f"{BASE}/{path}", headers=headers)
        assert (answer.status_code, answer.json()) == (200, body)


@pytest.mark.parametrize(
    "name", ["org/large", "ORG/Large", "org/large.safetensors", "org/large.safetensors [0123456789]", " org/large "]
)
async def test_model_is_found_by_clients_spelling(gateway: httpx.AsyncClient, name: str) -> None:
    """A model is found by its name as clients write it; a name of other servers is the default model."""
    await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": name})
    assert (await get(gateway, "options"))["sd_model_checkpoint"] == "org/large"
    await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": "Stable Diffusion"})
    assert (await get(gateway, "options"))["sd_model_checkpoint"] == "tiny"


async def test_all_options_may_be_sent_back(gateway: httpx.AsyncClient) -> None:
    """All options may be sent back, with null or any other value: only the model changes."""
    await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": "org/large"})
    before = await get(gateway, "options")
    for changed in (before, dict.fromkeys(before), before | {"samples_format": "webp", "forge_preset": "sd"}):
        answer = await gateway.post(f"{BASE}/options", json=changed)
        assert (answer.status_code, answer.content) == (200, b"null")
        assert await get(gateway, "options") == before
    await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": "tiny"})


async def test_selecting_an_unknown_model_is_500(gateway: httpx.AsyncClient) -> None:
    """An unknown model is the web UI's RuntimeError, and changes nothing."""
    answer = await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": "nope"})
    assert answer.status_code == 500
    message = "model 'nope' not found"
    assert answer.json() == {"error": "RuntimeError", "detail": message, "body": "", "errors": message}
    assert (await get(gateway, "options"))["sd_model_checkpoint"] == "tiny"


async def test_vanished_model_becomes_the_default(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """If the selected model no longer exists, the default model is used."""
    await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": "org/large"})
    fake.models = ["tiny"]
    assert (await get(gateway, "options"))["sd_model_checkpoint"] == "tiny"
    fake.models = []
    assert (await gateway.get(f"{BASE}/options")).status_code == 503
    await gateway.post(f"{BASE}/options", json={"sd_model_checkpoint": "tiny"})


async def test_png_info_returns_the_infotext(gateway: httpx.AsyncClient) -> None:
    """An image's infotext is returned and parsed; an image without one is not an error."""
    text = "a lake\nNegative prompt: x\nSteps: 3, Size: 8x9"
    result = (await gateway.post(f"{BASE}/png-info", json={"image": encode_base64(png(text=text))})).json()
    assert result["info"] == text
    assert result["parameters"]["Size-2"] == "9"
    plain = (await gateway.post(f"{BASE}/png-info", json={"image": encode_base64(png())})).json()
    assert plain == {"info": "", "items": {}, "parameters": {}}
    assert (await gateway.post(f"{BASE}/png-info", json={"image": "bm8="})).status_code == 500
    missing = await gateway.post(f"{BASE}/png-info", json={})
    assert (missing.status_code, missing.json()["detail"][0]["loc"]) == (422, ["body", "image"])
    assert missing.json()["detail"][0]["msg"] == "Invalid 'image': is missing, and must be a string."


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"upscaler_1": "Lanczos"}, (128, 96)),
        ({"upscaler_1": "Nearest", "upscaling_resize": 1.5}, (96, 72)),
        ({"upscaler_1": "R-ESRGAN 4x+", "upscaling_resize": 4}, (256, 192)),
        ({"upscaler_1": "None", "upscaling_resize": 4}, (64, 48)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 100}, (100, 100)),
        (
            {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 96, "upscaling_resize_h": 96}
            | {"upscaling_crop": False},
            (128, 96),
        ),
    ],
)
async def test_enlarges_an_image(gateway: httpx.AsyncClient, body: dict[str, Any], size: tuple[int, int]) -> None:
    """An image is enlarged by a factor or to a size; the response names the upscaler that was used."""
    answer = await gateway.post(f"{BASE}/extra-single-image", json={"image": encode_base64(png(64, 48))} | body)
    assert open_image(answer.json()["image"]).size == size
    used = body["upscaler_1"] if body["upscaler_1"] in ("Nearest", "Lanczos") else "Lanczos"
    assert (used in answer.json()["html_info"]) is (body["upscaler_1"] != "None")


async def test_the_services_upscaler_enlarges(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """`tintype` doubles once or twice in the service; results have the size asked for; a batch keeps its order."""
    body = {"upscaler_1": "tintype", "upscaling_resize": 3}
    answer = await gateway.post(f"{BASE}/extra-single-image", json=body | {"image": encode_base64(png(64, 48))})
    assert open_image(answer.json()["image"]).size == (192, 144)
    images = [{"data": encode_base64(png(side, 48)), "name": ""} for side in (64, 32)]
    answer = await gateway.post(f"{BASE}/extra-batch-images", json=body | {"upscaling_resize": 2, "imageList": images})
    assert [open_image(image).size for image in answer.json()["images"]] == [(128, 96), (64, 96)]
    assert "tintype, Size: 128x96" in answer.json()["html_info"]
    assert [request.factor for request in fake.upscaled] == [4, 2, 2]


async def test_enlarged_image_is_encoded_while_sent(
    gateway: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large response is counted like any other, and its base64 is encoded while it is sent."""
    counted: list[int] = []
    monkeypatch.setattr(reply, "hold_bytes", lambda size, **_: counted.append(size))
    body = {"image": encode_base64(png_of(Image.effect_noise((128, 128), 100))), "upscaler_1": "Lanczos"}
    answer = await gateway.post(f"{BASE}/extra-single-image", json=body | {"upscaling_resize": 8})
    assert open_image(answer.json()["image"]).size == (1024, 1024)
    assert counted == [len(answer.content)] == [int(answer.headers["content-length"])]


async def test_enlarging_is_bounded(gateway: httpx.AsyncClient) -> None:
    """No factor makes more pixels than an image may have."""
    large = encode_base64(png_of(Image.new("1", (4000, 2000))))
    body = {"image": large, "upscaler_1": "Lanczos", "upscaling_resize": 8}
    answer = await gateway.post(f"{BASE}/extra-single-image", json=body)
    assert answer.status_code == 422
    assert "not 32000x16000" in answer.json()["detail"][0]["msg"]


async def test_unknown_paths_use_the_web_uis_errors(gateway: httpx.AsyncClient) -> None:
    """Unknown paths of the web UI, and wrong methods, are errors in its format."""
    for method, path, status in (("GET", "sd-modules", 404), ("POST", "interrogate", 404), ("GET", "txt2img", 405)):
        answer = await gateway.request(method, f"{BASE}/{path}")
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "detail", "body", "errors"}


async def test_bare_options_succeed_on_every_route(gateway: httpx.AsyncClient, tmp_path: Path) -> None:
    """A bare OPTIONS, without an origin, is answered with 2xx on every route of the gateway."""
    app = create_app(GatewayConfig(data=tmp_path), client=None)  # type: ignore[arg-type]  # the client is not called
    paths = {route.path for route in app.litestar.routes}
    assert {"/v1/images/generations", f"{BASE}/txt2img", "/"} <= paths
    for path in paths:
        plain = path.replace("{", "").replace("}", "").replace(":str", "").replace(":path", "")
        assert (await gateway.options(plain)).status_code == 204, path


async def test_root_answers_pings(gateway: httpx.AsyncClient) -> None:
    """Pings of other clients: HEAD and GET of the root."""
    assert (await gateway.head("/")).status_code == 200
    assert (await gateway.get("/")).status_code == 200


async def test_openapi_has_these_paths(gateway: httpx.AsyncClient) -> None:
    """The API's document has these paths and their types."""
    description = (await gateway.get("/openapi.json")).json()
    assert description["paths"][f"{BASE}/txt2img"]["post"]["requestBody"]["required"]
    assert description["components"]["schemas"]["ImageToImage"]["properties"]["denoising_strength"]
