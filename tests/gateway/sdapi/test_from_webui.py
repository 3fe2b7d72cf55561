"""Requests of the web UI's clients as requests to the service: initial images, clip skip."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.bodies import encode_base64, png
from tintype.gateway.sdapi.from_webui import build_request
from tintype.gateway.sdapi.request_types import TextToImage, convert
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.fakes import FakeService

pytestmark = pytest.mark.anyio


async def test_initial_images_are_edited(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A model that edits gets all initial images; one that can also start does so below strength 1."""
    files = [png(64, 64 + index) for index in range(4)]
    body = {"prompt": "x", "init_images": [encode_base64(file) for file in files]}
    for model, strength, references, start, ignored in (
        ("editor", None, files[:3], False, "init_images"),
        ("editor", 0.5, files[:3], False, "init_images, denoising_strength"),
        ("both", 0.5, files[1:3], True, "init_images"),
        ("both", 1, files[:2], False, "init_images"),
        ("tiny", 0.5, [], True, "init_images"),
    ):
        fake.models = [model]
        more = {} if strength is None else {"denoising_strength": strength}
        answer = await gateway.post("/sdapi/v1/img2img", json=body | more)
        assert answer.status_code == 200, answer.text
        sent = fake.requests[-1]
        assert (list(sent.references), bool(sent.image), sent.HasField("strength")) == (references, start, start)
        assert answer.headers["x-tintype-ignored"] == ignored


@pytest.mark.parametrize(
    ("body", "layer", "expected"),
    [
        ({}, 1, None),
        ({"clip_skip": 1}, 1, None),
        ({"clip_skip": 2}, 1, 1),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2.0}}, 1, 1),
        ({"clip_skip": -1}, 1, None),
        ({"clip_skip": 99}, 1, 11),
        ({"clip_skip": 2}, 2, None),
        ({"clip_skip": 3}, 2, 1),
    ],
)
def test_clip_skip_counts_as_the_web_ui(body: dict[str, Any], layer: int, expected: int | None) -> None:
    """`clip_skip` counts from CLIP's last layer, and has no effect up to the layer that the model reads."""
    batched = build_request(convert(TextToImage, {"prompt": "x"} | body), pb.Model(clip_layer=layer), 7)
    assert (batched.request.clip_skip if batched.request.HasField("clip_skip") else None) == expected
    assert batched.ignored == {}


@pytest.mark.parametrize(
    ("body", "ignored"),
    [
        ({"clip_skip": 1}, {}),
        ({"clip_skip": 2}, {"clip_skip": "2"}),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, {"override_settings.CLIP_stop_at_last_layers": "2"}),
    ],
)
def test_clip_skip_without_clip_is_reported(body: dict[str, Any], ignored: dict[str, str]) -> None:
    """A model that reads no layers of a CLIP gets no `clip_skip`, and the client's key is reported."""
    batched = build_request(convert(TextToImage, {"prompt": "x"} | body), pb.Model(), 7)
    assert not batched.request.HasField("clip_skip")
    assert batched.ignored == ignored


@pytest.mark.parametrize(
    ("body", "ignored"),
    [
        ({"override_settings": {"CLIP_stop_at_last_layers": "a"}}, {"override_settings.CLIP_stop_at_last_layers": "a"}),
        (
            {"clip_skip": 2, "override_settings": {"CLIP_stop_at_last_layers": 3}},
            {"override_settings.CLIP_stop_at_last_layers": "3"},
        ),
        ({"clip_skip": 2, "override_settings": {"CLIP_stop_at_last_layers": 2}}, {}),
        ({"clip_skip": 2, "override_settings": {"CLIP_stop_at_last_layers": 1}}, {}),
    ],
)
def test_a_layer_without_effect_is_reported(body: dict[str, Any], ignored: dict[str, str]) -> None:
    """A setting that is no number, or that `clip_skip` overrides, is reported; the web UI's own default is not."""
    batched = build_request(convert(TextToImage, {"prompt": "x"} | body), pb.Model(clip_layer=1), 7)
    assert batched.ignored == ignored


async def test_info_has_the_layer_that_is_read(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """The response's `clip_skip` is the client's number if it has an effect, otherwise 1."""
    for model, layer, header in (("tiny", 2, None), ("editor", 1, "clip_skip")):
        fake.models = [model]
        images = {"init_images": [encode_base64(png(64, 64))], "denoising_strength": 1}
        answer = await gateway.post("/sdapi/v1/img2img", json={"prompt": "x", "clip_skip": 2} | images)
        assert json.loads(answer.json()["info"])["clip_skip"] == layer
        assert answer.headers.get("x-tintype-ignored") == header
