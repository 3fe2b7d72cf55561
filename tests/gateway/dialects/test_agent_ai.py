"""agent.ai's JSON, both ways, and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.gateway.samples import request, response
from tintype.gateway.dialects import DIALECTS
from tintype.gateway.errors import EmptyPrompt, GatewayError, InvalidValue, ServiceError

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

AGENT = DIALECTS["agent.ai"]


class TestAgentAi:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({}, request(width=720, height=1280)),
            ({"model_aspect_ratio": "1:1"}, request(width=1024, height=1024)),
            ({"model_aspect_ratio": "4:3"}, request(width=1152, height=864)),
            ({"model_aspect_ratio": "16:9"}, request(width=1280, height=720)),
            ({"model_aspect_ratio": "3:4"}, request(width=864, height=1152)),
            ({"model_aspect_ratio": "2:1"}, request(width=1440, height=720)),
            ({"model_style": "default"}, request(width=720, height=1280)),
            ({"model_style": "digital art"}, request(width=720, height=1280, style="digital art")),
            ({"model_style": "Default"}, request(width=720, height=1280)),
            ({"model_style": " Digital_Art"}, request(width=720, height=1280, style="digital art")),
            ({"model_style": "", "model_aspect_ratio": ""}, request(width=720, height=1280)),
            ({"model_style": "illustration"}, request(width=720, height=1280, style="illustration")),
            ({"model": "Stable Diffusion"}, request(width=720, height=1280, model="Stable Diffusion")),
        ],
        ids=str,
    )
    def test_defaults_and_sdk_values(self, body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
        """An absent field has its documented default, and values that only the SDK sends are accepted."""
        call = AGENT.parse({"prompt": "x"} | body)
        assert call.request == expected
        assert call.links
        assert call.optional == ("style",)

    @pytest.mark.parametrize("field", ["references", "image", "mask"])
    def test_model_that_needs_an_image_is_the_fault(self, field: str) -> None:
        """A request has no images, so a model that needs one is an error that says which models are right."""
        fault = ServiceError("no", status=400, violations=[(field, "is required: model 'a' edits images")])
        error = AGENT.error(fault.with_client_names(AGENT.parse({"prompt": "x"}).names)).body.error
        assert error.startswith("Invalid 'model': must be a model that makes images from text alone")

    def test_html_is_escaped(self) -> None:
        """One tag for each image; prompt and link are escaped in their attributes."""
        made = AGENT.render(
            response(), AGENT.parse({"prompt": "\"<b>' & co"}), 0, ["http://h/1.png?a=1&b", "http://h/2.png"]
        )
        alt = 'alt="&quot;&lt;b&gt;&#x27; &amp; co" /><br />'
        assert made.response == f'<img src="http://h/1.png?a=1&amp;b" {alt}<img src="http://h/2.png" {alt}'
        assert made.metadata.images[0].prompt == "\"<b>' & co"

    @pytest.mark.parametrize(
        ("problem", "expected"),
        [
            (ServiceError("no", status=401), '[403,{},{"error":"no","status":403}]'),
            (ServiceError("no", status=403), '[403,{},{"error":"no","status":403}]'),
            (
                ServiceError("later", status=429, retry_after=2),
                '[429,{"retry-after":"2","retry-after-ms":"2000"},{"error":"later","status":429}]',
            ),
            (
                EmptyPrompt(),
                (
                    '[400,{},{"error":"Invalid \'prompt\': empty string. Describe what the image should show.",'
                    '"status":400}]'
                ),
            ),
            (ServiceError("x", status=500), '[500,{"x-should-retry":"false"},{"error":"x","status":500}]'),
        ],
    )
    def test_errors_have_text_and_status(self, problem: GatewayError, expected: str) -> None:
        """Errors are a text and a status, and an invalid key is 403, as the SDK expects."""
        assert msgspec.json.encode(AGENT.error(problem)).decode() == expected

    @pytest.mark.parametrize("ratio", ["wide", "16/9", "0:1", "1:0", "17:1"])
    def test_invalid_ratio_says_what_is_right(self, ratio: str) -> None:
        """An invalid ratio is an error that says what would be right."""
        with pytest.raises(InvalidValue, match="'model_aspect_ratio': must be") as caught:
            AGENT.parse({"prompt": "x", "model_aspect_ratio": ratio})
        assert AGENT.error(caught.value).status == 400

    @pytest.mark.parametrize("style", ["noir", "vivid", "photography", "photo ,", " ", "x" * 10_000])
    def test_invalid_style_lists_the_valid(self, style: str) -> None:
        """A style that the reference does not list is an error in the vendor's format, with the valid styles."""
        right = "must be one of 'default', 'photo', 'digital art', 'illustration', 'drawing', not "
        with pytest.raises(InvalidValue, match="'model_style': ") as caught:
            AGENT.parse({"prompt": "x", "model_style": style})
        failure = AGENT.error(caught.value)
        assert (failure.status, failure.body.status) == (400, 400)
        assert failure.body.error.startswith(f"Invalid 'model_style': {right}")
        assert len(failure.body.error) < 300
