"""Requests of the web UI's clients as requests to the service: initial images, clip skip."""

from __future__ import annotations

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
    ("body", "family", "expected"),
    [
        ({}, "sd", None),
        ({"clip_skip": 1}, "sd", None),
        ({"clip_skip": 2}, "sd", 1),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2.0}}, "sd", 1),
        ({"clip_skip": -1}, "sd", None),
        ({"clip_skip": 99}, "sd", 11),
        ({"clip_skip": 2}, "sdxl", None),
        ({"clip_skip": 3}, "sdxl", 1),
    ],
)
def test_clip_skip_counts_as_the_web_ui(body: dict[str, Any], family: str, expected: int | None) -> None:
    """`clip_skip` counts from CLIP's last layer, and has no effect up to the layer that the model uses itself."""
    request = build_request(convert(TextToImage, {"prompt": "x"} | body), pb.Model(family=family), 7).request
    assert (request.clip_skip if request.HasField("clip_skip") else None) == expected
