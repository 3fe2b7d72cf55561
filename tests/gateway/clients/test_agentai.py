"""agent.ai's own SDK (`agentai`), whose server is one constant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import agentai
import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gateway.summary import ImageSummary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sdk(gateway_url: str) -> agentai.AgentAiClient:
    client = agentai.AgentAiClient("any")
    client.BASE_URL = f"{gateway_url}/v1"
    return client


@pytest.mark.parametrize(("ratio", "size"), [("1:1", (1024, 1024)), ("9:16", (720, 1280)), ("3:4", (864, 1152))])
def test_image_by_model_style_and_ratio(
    sdk: agentai.AgentAiClient, open_image: Callable[[bytes], ImageSummary], ratio: str, size: tuple[int, int]
) -> None:
    """The SDK's model, style and ratios are served; its `results` show the image whose link is in `metadata`."""
    answer = sdk.generate_image('a "lake"', aspect_ratio=ratio)
    assert (answer["status"], answer["error"]) == (200, None)
    (image,) = answer["metadata"]["images"]
    assert image["prompt"] == 'a "lake"'
    assert re.findall(r'<img src="([^"]+)" alt="a &quot;lake&quot;" /><br />', answer["results"]) == [image["url"]]
    assert open_image(httpx.get(image["url"], trust_env=False).content) == ("PNG", size, "RGB")


def test_error_is_a_text(sdk: agentai.AgentAiClient) -> None:
    """Its `error` is a text that describes the problem."""
    answer = sdk.generate_image("a lake", aspect_ratio="wide")
    assert answer["status"] == 400
    assert "'model_aspect_ratio'" in answer["error"]
    answer = sdk.generate_image("a lake", model="nope")
    assert (answer["status"], answer["results"]) == (404, None)
    assert "nope" in answer["error"]
