"""Paths of the ControlNet extension, as a foreign client, `webuiapi`, reads them, and its requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import webuiapi
from PIL import Image

from tests.support.gateway.fakes import FakeService, Service, config, running_gateway
from tintype.v1.keyfile import create

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.anyio


@pytest.fixture
async def guided(fake: FakeService) -> FakeService:
    """The service with a model that has ControlNets as its default."""
    fake.models = ["guided", "tiny"]
    return fake


@pytest.fixture
async def api(gateway: httpx.AsyncClient, guided: FakeService) -> Any:
    """A client of that model; it blocks, so call it in a thread."""
    await gateway.post("/sdapi/v1/options", json={"sd_model_checkpoint": guided.models[0]})
    found = await asyncio.to_thread(webuiapi.WebUIApi, baseurl=f"{gateway.base_url}/sdapi/v1")
    found.session.trust_env = False
    yield found
    found.session.close()


async def test_client_reads_the_lists(api: Any) -> None:
    """The client reads the version and the lists of models and modules; there are no preprocessors."""
    assert await asyncio.to_thread(api.controlnet_version) == 3
    assert await asyncio.to_thread(api.controlnet_model_list) == ["canny", "depth", "ip-adapter"]
    assert await asyncio.to_thread(api.controlnet_module_list) == ["none", "ip-adapter-auto"]
    assert "controlnet" in (await asyncio.to_thread(api.get_scripts))["txt2img"]


async def test_client_sends_units(api: Any, guided: FakeService) -> None:
    """The client's unit reaches the service: name, image, weight and range."""
    hint = Image.new("RGB", (64, 64), "white")
    unit = webuiapi.ControlNetUnit(
        image=hint, model="canny", weight=0.5, guidance_start=0.25, guidance_end=0.75, pixel_perfect=True
    )
    # Without a dict of its own, the client adds the units to a default that all later calls share.
    usual: dict[str, Any] = {"controlnet_units": [unit], "width": 64, "height": 64}
    made = await asyncio.to_thread(api.txt2img, prompt="a lake", alwayson_scripts={}, **usual)
    control = guided.requests[0].controls[0]
    assert (control.name, control.weight, control.start, control.end) == ("canny", 0.5, 0.25, 0.75)
    assert made.info["extra_generation_params"] == {}
    await asyncio.to_thread(api.img2img, [hint], prompt="x", alwayson_scripts={}, **usual)
    assert len(guided.requests[1].controls) == 1


async def test_lists_are_those_of_the_selected_model(gateway: httpx.AsyncClient, guided: FakeService) -> None:
    """The lists are those of the selected model; a model without ControlNets has none."""
    await gateway.post("/sdapi/v1/options", json={"sd_model_checkpoint": "tiny"})
    assert (await gateway.get("/controlnet/model_list?update=true")).json() == {"model_list": []}
    assert (await gateway.get("/controlnet/module_list")).json()["module_list"] == ["none"]
    await gateway.post("/sdapi/v1/options", json={"sd_model_checkpoint": guided.models[0]})
    kinds = (await gateway.get("/controlnet/control_types")).json()["control_types"]
    assert kinds["All"]["model_list"] == ["None", "canny", "depth", "ip-adapter"]


async def test_settings_count_the_units(gateway: httpx.AsyncClient) -> None:
    """The largest number of units has the newer and the older name."""
    assert (await gateway.get("/controlnet/settings")).json() == {
        "control_net_unit_count": 4,
        "control_net_max_models_num": 4,
    }


async def test_paths_need_a_key(service: Service, tmp_path: Path) -> None:
    """Where keys are required, the paths need one, and errors have the web UI's format."""
    path = tmp_path / "keys"
    key = create(path, "somebody")
    async with running_gateway(config(service, tmp_path, keys=path)) as client:
        for name in ("version", "settings", "model_list", "module_list", "control_types"):
            refused = await client.get(f"/controlnet/{name}")
            assert (refused.status_code, refused.json()["error"]) == (401, "NoKey")
            assert (await client.get(f"/controlnet/{name}", auth=("any", key))).status_code == 200
