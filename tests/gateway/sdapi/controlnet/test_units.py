"""Units of the ControlNet extension: what they mean for a model, and errors that name the unit's field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from tests.support.gateway.bodies import BASE, encode_base64, open_image, png, png_of
from tests.support.gateway.fakes import FakeService, Refusal
from tintype.gateway.errors import BadRequest
from tintype.gateway.sdapi.controlnet.units import parse_units, without_images
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.anyio

MODEL = pb.Model(
    name="guided", controls=["canny", "org/Depth", "union"], image_adapters=["ip-adapter"], control_modes={"union": 10}
)
UNIT = {"model": "canny", "image": "aGk="}
ARGS = "alwayson_scripts.controlnet.args"
HINT = encode_base64(png(96, 64, "white"))


def parse(*units: Any, **options: Any) -> Any:
    return parse_units({"ControlNet": {"args": list(units)}}, MODEL, **options)


@pytest.mark.parametrize(
    ("unit", "control"),
    [
        (UNIT, pb.Control(name="canny", weight=None)),
        ({"model": "CANNY [0123abcd]", "input_image": "aGk=", "weight": "0.5"}, pb.Control(name="canny", weight=0.5)),
        ({"model": "org/depth", "image": {"image": "aGk=", "mask": None}}, pb.Control(name="org/Depth")),
        (UNIT | {"guidance_start": 0.25, "guidance_end": 0.5}, pb.Control(name="canny", start=0.25, end=0.5)),
        (UNIT | {"guidance": 0.5}, pb.Control(name="canny", end=0.5)),
        (UNIT | {"image": ["aGk=", None], "module": "None"}, pb.Control(name="canny")),
    ],
)
def test_a_unit_is_a_control(unit: dict[str, Any], control: pb.Control) -> None:
    """A unit is a ControlNet with its weight and range, under the newer and the older names of its fields."""
    found = parse(unit)
    assert list(found.controls) == [control]
    assert [(one.place, one.key, one.source) for one in found.units] == [("controls[0]", f"{ARGS}[0]", "aGk=")]
    assert found.ignored == {}


@pytest.mark.parametrize(
    ("kind", "mode", "ignored"),
    [
        ("Hard Edge", 0, None),
        ("Tile", 1, None),
        ("Depth", 2, None),
        ("blur", 3, None),
        ("OpenPose", 4, None),
        ("gray", 5, None),
        ("low quality", 6, None),
        (9, 9, None),
        (10, 0, "10"),
        (-1, 0, "-1"),
        ("Soft Edge", 0, "Soft Edge"),
        ("Normal Map", 0, "Normal Map"),
        ("Segmentation", 0, "Segmentation"),
        ("Inpaint", 0, "Inpaint"),
        ("Unknown", 0, None),
    ],
)
def test_kinds_of_a_union_are_those_of_flux(kind: str | int, mode: int, ignored: str | None) -> None:
    """A kind has the number of FLUX.1's union ControlNets; one that they do not have is reported."""
    found = parse(UNIT | {"model": "union", "union_control_type": kind})
    assert list(found.controls) == [pb.Control(name="union", mode=mode)]
    assert found.ignored == ({f"{ARGS}[0].union_control_type": ignored} if ignored else {})


def test_a_kind_has_no_effect_on_others() -> None:
    """A ControlNet of one kind and an IP-Adapter get no number; the kind is reported."""
    for unit in (UNIT, UNIT | {"model": "ip-adapter"}):
        found = parse(unit | {"union_control_type": "Depth"})
        assert [control.mode for control in found.controls] == [0] * len(found.controls)
        assert found.ignored == {f"{ARGS}[0].union_control_type": "Depth"}


def test_an_adapter_is_an_image_prompt() -> None:
    """A unit of an IP-Adapter is an image prompt; its module may name the adapter's encoder."""
    adapter = {"model": "ip-adapter", "image": "aGk=", "weight": 0.5, "module": "ip-adapter_clip_sd15"}
    found = parse(UNIT, adapter, UNIT | {"enabled": False})
    assert list(found.image_prompts) == [pb.ImagePrompt(name="ip-adapter", weight=0.5)]
    assert [unit.place for unit in found.units] == ["controls[0]", "image_prompts[0]"]
    assert found.names["image_prompts[0].weight"] == f"{ARGS}[1].weight"
    assert parse(adapter | {"guidance_end": 0.5}).ignored == {f"{ARGS}[0].guidance_end": "0.5"}


def test_unsupported_fields_are_reported() -> None:
    """A field without equivalent is reported; one that only preprocessors read, or that changes nothing, is not."""
    quiet = {"control_mode": "Balanced", "pixel_perfect": True, "processor_res": 512, "threshold_a": 64, "low_vram": 1}
    assert parse(UNIT | quiet | {"hr_option": "Both", "union_control_type": "Unknown"}, hires=True).ignored == {}
    loud = {"control_mode": 2, "hr_option": "Low res only", "mask": "aGk=", "advanced_weighting": [1.0]}
    expected = {"control_mode": "2", "hr_option": "Low res only", "mask": "", "advanced_weighting": ""}
    assert parse(UNIT | loud, hires=True).ignored == {f"{ARGS}[0].{key}": value for key, value in expected.items()}


@pytest.mark.parametrize(
    ("unit", "field", "expected"),
    [
        (UNIT | {"model": "pose"}, "model", "must be one of 'canny', 'org/Depth', 'union', 'ip-adapter'; got 'pose'"),
        ({"image": "aGk="}, "model", "is missing, and must be one of 'canny', 'org/Depth', 'union', 'ip-adapter'.$"),
        (UNIT | {"module": "canny"}, "module", "must be 'none': there are no preprocessors"),
        (UNIT | {"module": "ip-adapter-auto"}, "module", "must be 'none'"),
        ({"model": "canny"}, "image", "must be an image in base64"),
        (UNIT | {"image": 7}, "image", "must be an image in base64"),
        (UNIT | {"weight": 3}, "weight", "must be a number from 0 to 2, not 3"),
        (UNIT | {"guidance_end": -1}, "guidance_end", "must be a number from 0 to 1, not -1"),
        (UNIT | {"resize_mode": "Tile"}, "resize_mode", "must be 'Just Resize', 'Crop and Resize'"),
    ],
)
def test_invalid_fields_are_named(unit: dict[str, Any], field: str, expected: str) -> None:
    """An error names the unit and its field."""
    with pytest.raises(BadRequest, match=expected) as caught:
        parse({"enabled": False}, unit)
    assert caught.value.param == f"{ARGS}[1].{field}"


@pytest.mark.parametrize("script", [None, [], {"args": "x"}, {"args": ["x"]}, {"args": [UNIT] * 5}])
def test_invalid_lists_are_errors(script: Any) -> None:
    """A list that is none, or has too many units, is an error."""
    with pytest.raises(BadRequest) as caught:
        parse_units({"controlnet": script}, MODEL)
    assert caught.value.param == ARGS


def test_a_model_without_controls_says_so() -> None:
    """The error for a model without ControlNets says that it has none."""
    for unit in (UNIT, {}):
        with pytest.raises(BadRequest, match=r"must be left out: model 'plain' has no ControlNets\.$") as caught:
            parse_units({"controlnet": {"args": [unit]}}, pb.Model(name="plain"))
        assert caught.value.param == f"{ARGS}[0]"


def test_responses_have_no_images() -> None:
    """A response repeats the units without their images."""
    assert without_images({"ControlNet": {"args": [UNIT | {"mask": "aGk="}]}}) == {
        "ControlNet": {"args": [{"model": "canny"}]}
    }


class TestRequests:
    @pytest.fixture
    async def guided(self, fake: FakeService) -> FakeService:
        """The service with a model that has ControlNets as its default."""
        fake.models = ["guided"]
        return fake

    async def test_units_reach_the_service(self, gateway: httpx.AsyncClient, guided: FakeService) -> None:
        """Images, weights and ranges reach the service; the response names what has no effect."""
        units = [
            {"model": "canny", "image": HINT, "weight": 0.5, "guidance_end": 0.5, "control_mode": 1},
            {"model": "ip-adapter", "module": "ip-adapter-auto", "image": f"data:image/png;base64,{HINT}"},
        ]
        body = {"prompt": "x", "width": 96, "height": 64, "alwayson_scripts": {"controlnet": {"args": units}}}
        answer = await gateway.post(f"{BASE}/txt2img", json=body)
        assert answer.status_code == 200, answer.text
        sent = guided.requests[0]
        file = png(96, 64, "white")
        assert list(sent.controls) == [pb.Control(name="canny", image=file, weight=0.5, end=0.5)]
        assert list(sent.image_prompts) == [pb.ImagePrompt(name="ip-adapter", image=file)]
        assert answer.headers["x-tintype-ignored"] == f"{ARGS}[0].control_mode"
        assert HINT not in answer.text

    async def test_unknown_keys_of_units_are_named(self, gateway: httpx.AsyncClient, guided: FakeService) -> None:
        """Keys that the extension does not have are named; those of preprocessors and of disabled units are not."""
        quiet = {"pixel_perfect": True, "processor_res": 512, "threshold_a": 64, "low_vram": True, "odd": None}
        units = [{"model": "canny", "image": HINT, "wieght": 2} | quiet, {"enabled": False, "odd": 1}]
        body = {"prompt": "x", "alwayson_scripts": {"ControlNet": {"args": units}}}
        answer = await gateway.post(f"{BASE}/txt2img", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-tintype-ignored"] == f"{ARGS}[0].wieght"
        assert len(guided.requests[0].controls) == 1

    async def test_images_are_cut_to_the_results_shape(self, gateway: httpx.AsyncClient, guided: FakeService) -> None:
        """An image of another shape is cropped, filled, or left to be stretched, as the unit says."""
        units = [{"model": "canny", "image": HINT, "resize_mode": mode} for mode in (0, "Crop and Resize", 2)]
        body = {"prompt": "x", "width": 64, "height": 64, "alwayson_scripts": {"controlnet": {"args": units}}}
        await gateway.post(f"{BASE}/txt2img", json=body)
        sizes = [open_image(control.image).size for control in guided.requests[0].controls]
        assert sizes == [(96, 64), (64, 64), (96, 96)]

    async def test_initial_image_is_the_default(self, gateway: httpx.AsyncClient, guided: FakeService) -> None:
        """In img2img a unit without an image has the initial one, and only its masked part if only that is made."""
        script = {"controlnet": {"args": [{"model": "canny"}]}}
        body = {"prompt": "x", "init_images": [HINT], "alwayson_scripts": script}
        await gateway.post(f"{BASE}/img2img", json=body)
        assert guided.requests[0].controls[0].image == png(96, 64, "white")
        mask = Image.new("L", (96, 64))
        mask.paste(255, (8, 8, 40, 40))
        part = {"mask": encode_base64(png_of(mask)), "mask_blur": 0, "width": 64, "height": 64}
        await gateway.post(f"{BASE}/img2img", json=body | part)
        assert open_image(guided.requests[1].controls[0].image).size == (32, 32)

    async def test_both_passes_have_the_controls(self, gateway: httpx.AsyncClient, guided: FakeService) -> None:
        """With `enable_hr` both passes have the controls."""
        script = {"controlnet": {"args": [{"model": "canny", "image": HINT}]}}
        await gateway.post(f"{BASE}/txt2img", json={"prompt": "x", "enable_hr": True, "alwayson_scripts": script})
        assert [len(request.controls) for request in guided.requests] == [1, 1]

    async def test_errors_name_the_unit(self, gateway: httpx.AsyncClient, guided: FakeService) -> None:
        """An unreadable image, and an error of the service, name the unit's field."""
        script = {"controlnet": {"args": [{"model": "canny", "image": "bm8="}]}}
        answer = await gateway.post(f"{BASE}/txt2img", json={"prompt": "x", "alwayson_scripts": script})
        assert answer.json()["errors"].startswith(f"Invalid '{ARGS}[0].image': must be a PNG")
        faults = [("controls[0].start", "must be below its end")]
        guided.behave = Refusal(grpc.StatusCode.INVALID_ARGUMENT, reason="INVALID_FIELD", violations=faults)
        script = {"controlnet": {"args": [{"model": "canny", "image": HINT}]}}
        answer = await gateway.post(f"{BASE}/txt2img", json={"prompt": "x", "alwayson_scripts": script})
        assert answer.json()["detail"][0]["loc"] == ["body", f"{ARGS}[0].guidance_start"]
