"""OpenAI's JSON to the contract and back, as pairs, without sockets, files or clocks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.gateway.samples import request
from tintype.gateway.dialects.openai import error, parse, render
from tintype.gateway.dialects.openai_events import completed, partial
from tintype.gateway.dialects.openai_models import render_model
from tintype.gateway.errors import EmptyPrompt, NoSuchMethod, StoreFull
from tintype.v1 import image_service_pb2 as pb


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, request()),
        ({"model": "sdxl"}, request(model="sdxl")),
        ({"n": 4}, request(count=4)),
        ({"size": "512x768"}, request(width=512, height=768)),
        ({"size": "auto"}, request()),
        ({"quality": "hd"}, request(quality="hd")),
        ({"quality": "auto"}, request()),
        ({"style": "natural"}, request(style="natural")),
        ({"response_format": "url"}, request()),
        ({"output_format": "jpeg"}, request(output=pb.OutputFormat(mime_type="image/jpeg", quality=100))),
        (
            {"output_format": "webp", "output_compression": 0},
            request(output=pb.OutputFormat(mime_type="image/webp", quality=0)),
        ),
        ({"output_compression": 50}, request(output=pb.OutputFormat(mime_type="image/png", quality=50))),
        ({"background": "transparent"}, request(output=pb.OutputFormat(mime_type="image/png", alpha=True))),
        ({"background": "opaque", "moderation": "low", "partial_images": 3, "stream": False}, request()),
        ({"user": "me"}, request(caller="me")),
        ({"safety_identifier": "me"}, request(caller="me")),
        ({"user": "me", "safety_identifier": "other"}, request(caller="me")),
        ({"seed": 0}, request(seed=0)),
        ({"seed": 2**63 - 1}, request(seed=2**63 - 1)),
        ({"seed": -1}, request()),
        ({"n": 2.0, "steps": 3.0, "seed": 7.0, "width": 64.0}, request(count=2, steps=3, seed=7, width=64)),
        (dict.fromkeys(("size", "quality", "style", "background", "moderation", "output_format"), ""), request()),
        (dict.fromkeys(("response_format", "model", "user", "negative_prompt", "image", "mask"), ""), request()),
        (dict.fromkeys(("aspect_ratio", "sampler", "schedule", "provider"), ""), request()),
        ({"negative_prompt": "fog"}, request(negative_prompt="fog")),
        ({"steps": 20}, request(steps=20)),
        ({"num_inference_steps": 20}, request(steps=20)),
        ({"steps": 20, "num_inference_steps": 20}, request(steps=20)),
        ({"guidance_scale": 0}, request(guidance_scale=0)),
        ({"cfg_scale": 7.5}, request(guidance_scale=7.5)),
        ({"sampler": "euler", "schedule": "karras"}, request(sampler="euler", schedule="karras")),
        ({"strength": 0.5}, request(strength=0.5)),
        ({"width": 64, "height": 32}, request(width=64, height=32)),
        ({"size": "16x16", "width": 64, "aspect_ratio": "1:1"}, request(width=16, height=16)),
        ({"size": "auto", "aspect_ratio": "16:9"}, request(width=1280, height=720)),
        ({"cfg": 0}, request(guidance_scale=0)),
        ({"prompt_weighting": True}, request(prompt_weighting=True)),
        (
            {"loras": [{"name": "a", "weight": 0.5}, {"name": "b"}], "embeddings": ["<cat>"]},
            request(loras=[pb.Lora(name="a", weight=0.5), pb.Lora(name="b")], embeddings=["<cat>"]),
        ),
    ],
    ids=str,
)
def test_parse_places_every_field(body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
    """Every field has its place in the contract; absent fields and zeros are preserved."""
    assert parse({"prompt": "x"} | body).request == expected


@pytest.mark.parametrize(
    ("body", "links"),
    [
        ({}, None),
        ({"model": "dall-e-3"}, None),
        ({"model": "my-gpt-image"}, None),
        ({"model": "gpt-image-1"}, False),
        ({"model": "gpt-image-9-mini"}, False),
        ({"model": "chatgpt-image-latest"}, False),
        ({"model": "gpt-image-1", "response_format": "url"}, True),
        ({"response_format": "b64_json"}, False),
        ({"response_format": "url"}, True),
        ({"stream": True}, False),
        ({"stream": False}, None),
    ],
)
def test_response_format_or_the_models_default(body: dict[str, Any], links: bool | None) -> None:  # noqa: FBT001
    """The requested format is used; without one it is open, except for models whose clients read only base64."""
    assert parse({"prompt": "x"} | body).links is links


B64 = {"response_format": "b64_json"}


@pytest.mark.parametrize(
    ("body", "response", "links", "expected"),
    [
        (
            B64,
            pb.GenerateImagesResponse(
                images=[pb.Image(seed=7, data=b"abc", mime_type="image/png", width=64, height=64)]
            ),
            (),
            b'{"created":5,"data":[{"b64_json":"YWJj","seed":7}],"output_format":"png"}',
        ),
        (
            {},
            pb.GenerateImagesResponse(
                images=[pb.Image(data=b"a", mime_type="image/webp", width=1024, height=1024, revised_prompt="y")]
            ),
            ("http://h/1.webp",),
            (
                b'{"created":5,"data":[{"url":"http://h/1.webp","revised_prompt":"y","seed":0}],"output_format":"webp",'
                b'"size":"1024x1024"}'
            ),
        ),
        (
            B64 | {"quality": "high", "background": "transparent"},
            pb.GenerateImagesResponse(
                images=[pb.Image(data=b"a", mime_type="image/png", width=1536, height=1024)],
                usage=pb.Usage(prompt_tokens=3),
            ),
            (),
            (
                b'{"created":5,"data":[{"b64_json":"YQ==","seed":0}],"background":"opaque","output_format":"png",'
                b'"size":"1536x1024","quality":"high","usage":{"total_tokens":3,"input_tokens":3,"output_tokens":0,'
                b'"input_tokens_details":{"text_tokens":3,"image_tokens":0}}}'
            ),
        ),
        (
            B64 | {"quality": "hd"},
            pb.GenerateImagesResponse(images=[pb.Image(data=b"a", mime_type="image/jpeg", width=1792, height=1024)]),
            (),
            b'{"created":5,"data":[{"b64_json":"YQ==","seed":0}],"output_format":"jpeg"}',
        ),
    ],
)
def test_render_to_the_byte(
    body: dict[str, Any], response: pb.GenerateImagesResponse, links: tuple[str, ...], expected: bytes
) -> None:
    """The response to the byte: no null, and only sizes and qualities that OpenAI's own schema lists."""
    assert msgspec.json.encode(render(response, parse({"prompt": "x"} | body), 5, links)) == expected


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (
            EmptyPrompt(),
            (
                b'[400,{},{"error":{"message":"Invalid \'prompt\': empty string. Describe what the image should show.",'
                b'"type":"invalid_request_error","param":"prompt","code":null}}]'
            ),
        ),
        (
            NoSuchMethod("no", "POST"),
            b'[405,{},{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}]',
        ),
        (
            StoreFull("full"),
            (
                b'[507,{"x-should-retry":"false"},{"error":{"message":"full","type":"server_error","param":null,'
                b'"code":"insufficient_storage"}}]'
            ),
        ),
    ],
)
def test_error_to_the_byte(problem: Any, expected: bytes) -> None:
    """An error to the byte, always with four keys."""
    assert msgspec.json.encode(error(problem)) == expected


EVENT: dict[str, Any] = {"mime_type": "image/png", "data": b"abc", "width": 1024, "height": 1024}


@pytest.mark.parametrize(
    ("body", "index", "expected"),
    [
        (
            {"quality": "high"},
            0,
            (
                '{"type":"image_generation.partial_image","b64_json":"YWJj","created_at":5,"size":"1024x1024",'
                '"quality":"high","background":"opaque","output_format":"png","partial_image_index":2}'
            ),
        ),
        (
            {"n": 2},
            1,
            (
                '{"type":"image_generation.partial_image","b64_json":"YWJj","created_at":5,"size":"1024x1024",'
                '"quality":"auto","background":"opaque","output_format":"png","partial_image_index":2,"image_index":1}'
            ),
        ),
    ],
)
def test_partial_event_to_the_byte(body: dict[str, Any], index: int, expected: str) -> None:
    """The event of a preview to the byte; with several images it has the index of its image."""
    preview = pb.Preview(preview_index=2, index=index, **EVENT)
    assert msgspec.json.encode(partial(preview, parse({"prompt": "x", "stream": True} | body), 5)).decode() == expected


@pytest.mark.parametrize(
    ("body", "image", "expected"),
    [
        (
            {},
            pb.Image(**EVENT),
            (
                '{"type":"image_generation.completed","b64_json":"YWJj","created_at":5,"size":"1024x1024",'
                '"quality":"auto","background":"opaque","output_format":"png","usage":{"total_tokens":3,"input_tokens":3,'
                '"output_tokens":0,"input_tokens_details":{"text_tokens":3,"image_tokens":0}}}'
            ),
        ),
        (
            {"n": 2, "quality": "hd"},
            pb.Image(**(EVENT | {"width": 64, "mime_type": "image/webp"})),
            (
                '{"type":"image_generation.completed","b64_json":"YWJj","created_at":5,"size":"auto",'
                '"quality":"auto","background":"opaque","output_format":"webp","usage":{"total_tokens":3,"input_tokens":3,'
                '"output_tokens":0,"input_tokens_details":{"text_tokens":3,"image_tokens":0}},"image_index":0}'
            ),
        ),
    ],
)
def test_completed_event_to_the_byte(body: dict[str, Any], image: pb.Image, expected: str) -> None:
    """The event of an image to the byte; a size or quality that OpenAI's schema does not list is `auto`."""
    call = parse({"prompt": "x", "stream": True} | body)
    assert msgspec.json.encode(completed(image, pb.Usage(prompt_tokens=3), call, 5)).decode() == expected


@pytest.mark.parametrize(
    ("body", "stream", "previews"),
    [
        ({"stream": True}, True, 0),
        ({"stream": True, "partial_images": 3}, True, 3),
        ({"partial_images": 3}, False, 0),
        ({"stream": None, "partial_images": None}, False, 0),
    ],
)
def test_only_streams_have_previews(body: dict[str, Any], stream: bool, previews: int) -> None:  # noqa: FBT001
    """Only streams have previews; otherwise the field is accepted and has no effect."""
    call = parse({"prompt": "x"} | body)
    assert (call.stream, call.previews) == (stream, previews)


@pytest.mark.parametrize(
    ("body", "optional"),
    [
        ({}, ()),
        ({"quality": "auto"}, ()),
        ({"quality": "hd", "style": "vivid"}, ("quality", "style")),
        ({"quality": "draft", "style": "noir"}, ()),
    ],
)
def test_only_openais_presets_are_optional(body: dict[str, Any], optional: tuple[str, ...]) -> None:
    """OpenAI's presets are dropped if the model does not have them; other presets are required."""
    assert parse({"prompt": "x"} | body).optional == optional


def test_listed_parameters_can_be_sent() -> None:
    """The parameters that a model lists can be sent by these names, with their defaults and at their limits."""
    model = pb.Model(name="a", defaults=pb.ModelDefaults(width=96, height=64, steps=20, guidance_scale=7.5))
    parameters = msgspec.to_builtins(render_model(model).parameters)
    for value in ("default", "min", "max"):
        call = parse({key: limits[value] for key, limits in parameters.items() if value in limits} | {"prompt": "x"})
        assert call.unused == ()


@pytest.mark.parametrize(
    ("body", "overridden"),
    [
        ({"size": "256x256", "width": 300}, ("width",)),
        ({"size": "256x256", "width": 256, "height": 256, "aspect_ratio": "1:1"}, ()),
        ({"size": "512x256", "aspect_ratio": "1:1"}, ("aspect_ratio",)),
        ({"size": "512x256", "aspect_ratio": "2:1"}, ()),
        ({"width": 300, "aspect_ratio": "16:9"}, ("aspect_ratio",)),
        ({"aspect_ratio": "16:9"}, ()),
        ({"size": "auto", "aspect_ratio": "2:3"}, ()),
    ],
)
def test_overridden_size_is_named(body: dict[str, Any], overridden: tuple[str, ...]) -> None:
    """Of sizes that contradict each other one is made, and the header names the others."""
    assert parse({"prompt": "x"} | body).overridden == overridden
