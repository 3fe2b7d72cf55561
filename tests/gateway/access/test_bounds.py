"""Configured limits of one request, below those of the contract."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PATH, FakeService, Service, config, running_gateway
from tests.support.gateway.openai_errors import check_error
from tests.support.gateway.samples import image_file
from tintype.gateway.config import GatewayConfig
from tintype.gateway.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

LARGE = base64.b64encode(image_file(size=(600, 600))).decode()
BOUNDS = {"max_images": 2, "max_pixels": 512 * 512, "max_steps": 30, "max_prompt": 5}


@pytest.mark.parametrize(
    ("body", "param", "expected"),
    [
        ({"n": 3}, "n", "Invalid 'n': must be at most 2 here, not 3."),
        (
            {"size": "512x513"},
            "size",
            "Invalid 'size': width must, with the height, make at most 262144 pixels here, not 262656.",
        ),
        ({"width": 4096}, "width", "Invalid 'width': must, with the height, make at most 262144 pixels"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio", "Invalid 'aspect_ratio': width must, with the height, make at most"),
        ({"num_inference_steps": 31}, "num_inference_steps", "must be at most 30 here, not 31."),
        ({"prompt": "a lake"}, "prompt", "Invalid 'prompt': must have at most 5 characters here, not 6."),
        ({"negative_prompt": "a lake"}, "negative_prompt", "must have at most 5 characters here, not 6."),
        ({"n": 3, "steps": 31}, "n", "Invalid 'n': must be at most 2 here, not 3. Invalid 'steps': must be"),
        (
            {"image": LARGE},
            "size",
            "width must, with the height, make at most 262144 pixels here, not 360000.",
        ),
        ({"image": LARGE, "width": 600}, "width", "Invalid 'width': must, with the height, make at most 262144 pixels"),
        ({"n": 3, "stream": True}, "n", "must be at most 2 here, not 3."),
    ],
    ids=str,
)
async def test_values_above_a_limit_are_refused(
    service: Service, fake: FakeService, tmp_path: Path, body: dict[str, Any], param: str, expected: str
) -> None:
    """A value above a limit is named with the client's key and the limit, and no image is generated."""
    async with running_gateway(config(service, tmp_path, **BOUNDS)) as client:
        answer = await client.post(PATH, json={"prompt": "x"} | body)
    assert expected in check_error(answer, 400, "invalid_request_error", "invalid_value", param)
    assert not fake.requests


async def test_requests_at_the_limits_are_served(service: Service, tmp_path: Path) -> None:
    """A request at the limits is served."""
    small = {"prompt": "lakes", "image": LARGE, "size": "512x512"}
    body = {"prompt": "lakes", "n": 2, "size": "512x512", "steps": 30, "negative_prompt": "water"}
    async with running_gateway(config(service, tmp_path, **BOUNDS)) as client:
        for one in (body, small):
            assert (await client.post(PATH, json=one)).status_code == 200


async def test_edits_without_a_size_count_as_a_megapixel(service: Service, fake: FakeService, tmp_path: Path) -> None:
    """An edit has about a megapixel; with a smaller size it is served."""
    body = {"prompt": "lakes", "image": LARGE, "model": "editor"}
    async with running_gateway(config(service, tmp_path, **BOUNDS)) as client:
        answer = await client.post(PATH, json=body)
        assert "not 1048576" in check_error(answer, 400, "invalid_request_error", "invalid_value", "size")
        assert (await client.post(PATH, json=body | {"size": "64x64"})).status_code == 200
    assert len(fake.requests) == 1


@pytest.mark.parametrize("name", BOUNDS)
def test_negative_limits_are_refused(name: str) -> None:
    """An invalid limit is named."""
    with pytest.raises(StartError, match=f"--{name.replace('_', '-')} must be 0 or more; got -1"):
        GatewayConfig(**{name: -1})  # type: ignore[arg-type]
