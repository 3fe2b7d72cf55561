"""APIpie's JSON where it differs from OpenAI's, and its errors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.gateway.samples import request
from tintype.gateway.dialects import DIALECTS
from tintype.gateway.errors import EmptyPrompt, GatewayError, InvalidValue, ServiceError
from tintype.v1 import image_service_pb2 as pb

APIPIE = DIALECTS["apipie"]
OPENAI = DIALECTS["openai"]


class TestApipie:
    def test_default_style_is_dropped_silently(self) -> None:
        """Without a style it is natural, and it is dropped silently if the model does not have it."""
        call = APIPIE.parse({"prompt": "x", "steps": 3})
        assert call.request == request(style="natural", steps=3)
        assert (call.optional, call.implicit) == (("style",), ("style",))
        assert APIPIE.parse({"prompt": "x", "style": "vivid"}).implicit == ()

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"aspect_ratio": "16:9"}, request(style="natural", width=1280, height=720)),
            ({"provider": "any", "strength": 0.5}, request(style="natural", strength=0.5)),
            ({"loras": [{"name": "a"}]}, request(style="natural", loras=[pb.Lora(name="a")])),
        ],
        ids=str,
    )
    def test_additional_fields_on_shared_path(self, body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
        """Its additional fields are accepted, on the bare path as well."""
        call = APIPIE.parse({"prompt": "x"} | body)
        assert (call.request, call.ignored) == (expected, ())
        assert OPENAI.parse({"prompt": "x", "style": "natural"} | body).request == expected

    @pytest.mark.parametrize(
        ("problem", "expected"),
        [
            (
                InvalidValue("size", "must be one of: 256x256, 512x512"),
                (
                    '[400,{},{"error":{"message":"The \'size\' parameter must be one of: 256x256, 512x512.",'
                    '"type":"invalid_request_error","param":"size","code":"invalid_parameter"}}]'
                ),
            ),
            (
                ServiceError("later", status=429, retry_after=1),
                (
                    '[429,{"retry-after":"1","retry-after-ms":"1000"},{"error":{"message":"later","type":"requests",'
                    '"param":null,"code":"rate_limit_exceeded"}}]'
                ),
            ),
            (
                ServiceError("no", status=400, reason="MODERATION_BLOCKED"),
                (
                    '[400,{},{"error":{"message":"no","type":"invalid_request_error","param":null,'
                    '"code":"content_policy_violation"}}]'
                ),
            ),
            (
                EmptyPrompt(),
                (
                    '[400,{},{"error":{"message":"Invalid \'prompt\': empty string. Describe what the image should '
                    'show.","type":"invalid_request_error","param":"prompt","code":"invalid_parameter"}}]'
                ),
            ),
        ],
    )
    def test_errors_have_documented_codes(self, problem: GatewayError, expected: str) -> None:
        """Its documented codes, with OpenAI's four keys."""
        assert msgspec.json.encode(APIPIE.error(problem)).decode() == expected
