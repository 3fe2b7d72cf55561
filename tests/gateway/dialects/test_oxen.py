"""Oxen's JSON, both ways, and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.gateway.samples import request
from tintype.gateway.dialects import DIALECTS
from tintype.gateway.errors import EmptyPrompt, GatewayError, InvalidValue, NotJson, ServiceError

if TYPE_CHECKING:
    from tintype.v1 import image_service_pb2 as pb

OXEN = DIALECTS["oxen"]


class TestOxen:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"size": "512x768"}, request(width=512, height=768)),
            ({"aspect_ratio": "16:9"}, request(width=1280, height=720)),
            ({"image_size": "portrait_16_9"}, request(width=576, height=1024)),
            ({"image_size": {"width": 640, "height": 480}}, request(width=640, height=480)),
            ({"size": "64x64", "image_size": "square", "aspect_ratio": "4:3"}, request(width=64, height=64)),
            ({"image_size": "square", "aspect_ratio": "4:3"}, request(width=512, height=512)),
            ({"seed": 0, "n": 2, "num_inference_steps": 4}, request(seed=0, count=2, steps=4)),
            ({"n": 2.0, "image_size": {"width": 640.0, "height": 480}}, request(count=2, width=640, height=480)),
            ({"seed": -1, "size": "", "image_size": "", "response_format": "", "aspect_ratio": ""}, request()),
            ({"guidance_scale": 0, "negative_prompt": "fog"}, request(guidance_scale=0, negative_prompt="fog")),
        ],
        ids=str,
    )
    def test_every_documented_field_is_parsed(self, body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
        """Every field that its pages name has its place in the contract."""
        assert OXEN.parse({"prompt": "x"} | body).request == expected

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"size": "1x1"}, "size"),
            ({"image_size": "square"}, "image_size"),
            ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ],
    )
    def test_errors_name_the_clients_key(self, body: dict[str, Any], param: str) -> None:
        """An invalid side is named by the key that the client used."""
        assert OXEN.parse({"prompt": "x"} | body).names["height"] == param

    @pytest.mark.parametrize(
        ("body", "overridden"),
        [
            ({"size": "64x64", "image_size": "square", "aspect_ratio": "4:3"}, ("image_size", "aspect_ratio")),
            ({"size": "512x512", "image_size": "square", "aspect_ratio": "1:1"}, ()),
            ({"image_size": "square", "aspect_ratio": "4:3"}, ("aspect_ratio",)),
            ({"aspect_ratio": "4:3"}, ()),
        ],
        ids=str,
    )
    def test_overridden_size_is_named(self, body: dict[str, Any], overridden: tuple[str, ...]) -> None:
        """Of sizes that contradict each other one is made, and the header names the others."""
        assert OXEN.parse({"prompt": "x"} | body).overridden == overridden

    @pytest.mark.parametrize("image_size", ["huge", {"width": 5}, {"width": 5, "height": 64}, 7])
    def test_invalid_image_size_says_what_is_right(self, image_size: Any) -> None:
        """An invalid size is an error that says what would be right."""
        expected = "'image_size': must be one of 'landscape_16_9', .*'square_hd' or {width, height} of 16"
        with pytest.raises(InvalidValue, match=expected):
            OXEN.parse({"prompt": "x", "image_size": image_size})

    @pytest.mark.parametrize(
        ("problem", "status", "kind", "title", "detail"),
        [
            (ServiceError("key", status=401), 401, "unauthenticated", "Unauthenticated", "key"),
            (ServiceError("key", status=403), 403, "unauthenticated", "Unauthenticated", "key"),
            (EmptyPrompt(), 400, "invalid_params", "Invalid parameters", "Prompt cannot be empty"),
            (NotJson("no JSON"), 400, "invalid_params", "Invalid parameters", "no JSON"),
            (
                ServiceError("no", status=404, facts={"model": "nope"}),
                404,
                "resource_not_found",
                "Resource not found",
                "Model not found: nope",
            ),
            (ServiceError("no", status=404), 404, "resource_not_found", "Resource not found", "no"),
            (ServiceError("late", status=504), 504, "unknown_error", "Unknown error", "late"),
        ],
    )
    def test_errors_have_both_documented_formats(
        self, problem: GatewayError, status: int, kind: str, title: str, detail: str
    ) -> None:
        """Errors have the keys of both documented formats."""
        failure = OXEN.error(problem)
        assert failure.status == status
        assert msgspec.json.encode(failure.body).decode() == (
            f'{{"error":{{"type":"{kind}","title":"{title}","detail":"{detail}","message":"{detail}"}},'
            f'"status":"error","status_message":"{kind}"}}'
        )
