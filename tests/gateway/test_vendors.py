"""agent.ai, Oxen, APIpie and Aqueduct to the byte: the examples of their documents, both ways, and their errors."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tintype.gateway.dialects import DIALECTS, Dialect
from tintype.gateway.errors import EmptyPrompt, GatewayError, InvalidValue, NotJson, ServiceError
from tintype.v1 import image_service_pb2 as pb

PNG = pb.OutputFormat(mime_type="image/png")
AGENT, OXEN, APIPIE, AQUEDUCT, OPENAI = (
    DIALECTS[name] for name in ("agent.ai", "oxen", "apipie", "aqueduct", "openai")
)
LAKE = "A serene mountain lake at sunset"
DOG = "Its a picture of a dog, driving a car"
LABRADOR = "A labrador retriever with lush chocolate fur is driving a red 1974 Stingray and..."
BUCKET = (
    "https://s3.us-east-2.amazonaws.com/asset-uploads.agent.ai/6b55e6923a78a17534d298e0708c764425dffc85fbd9c1c2d4f8fb3f"
    "_8af27bf1-c121-484f-a456-4c6c5628c5d0_20250217144148.jpg"
)


def request(**fields: Any) -> pb.GenerateImagesRequest:
    return pb.GenerateImagesRequest(**({"prompt": "x", "output": PNG} | fields))


def response(*images: pb.Image, **fields: Any) -> pb.GenerateImagesResponse:
    return pb.GenerateImagesResponse(images=images or [pb.Image(data=b"abc", mime_type="image/png")], **fields)


@pytest.mark.parametrize(
    ("dialect", "body", "expected", "links"),
    [
        (
            AGENT,
            f'{{"prompt":"{LAKE}","model":"DALL-E 3","model_style":"default","model_aspect_ratio":"9:16"}}',
            request(prompt=LAKE, model="DALL-E 3", width=720, height=1280),
            True,
        ),
        (
            OXEN,
            f'{{"model":"flux","n":1,"prompt":"{LAKE}","seed":null,"size":null}}',
            request(prompt=LAKE, model="flux", count=1),
            None,
        ),
        (
            APIPIE,
            (
                f'{{"prompt":"{DOG}","model":"dall-e-3","n":1,"size":"1024x1024","quality":"standard",'
                '"response_format":"url","style":"vivid"}'
            ),
            request(prompt=DOG, model="dall-e-3", count=1, width=1024, height=1024, quality="standard", style="vivid"),
            True,
        ),
        (
            AQUEDUCT,
            '{"model":"dall-e-3","prompt":"A cute baby sea otter","n":1,"size":"1024x1024"}',
            request(prompt="A cute baby sea otter", model="dall-e-3", count=1, width=1024, height=1024),
            None,
        ),
        (
            OPENAI,
            (
                '{"model":"dall-e-3","prompt":"x","n":1,"size":"1024x1024","quality":"standard","style":"vivid",'
                '"response_format":"url","user":"me"}'
            ),
            request(model="dall-e-3", count=1, width=1024, height=1024, quality="standard", style="vivid", caller="me"),
            True,
        ),
        (
            OPENAI,
            '{"model":"gpt-image-1.5","prompt":"A cute baby sea otter","n":1,"size":"1024x1024"}',
            request(prompt="A cute baby sea otter", model="gpt-image-1.5", count=1, width=1024, height=1024),
            False,
        ),
    ],
    ids=["agent.ai", "oxen", "apipie", "aqueduct", "openai-compatible", "openai"],
)
def test_documented_requests(
    dialect: Dialect,
    body: str,
    expected: pb.GenerateImagesRequest,
    links: bool | None,  # noqa: FBT001
) -> None:
    """Each document's example becomes the request that it means."""
    call = dialect.parse(msgspec.json.decode(body))
    assert call.request == expected
    assert call.links is links
    assert call.ignored == ()


@pytest.mark.parametrize(
    ("dialect", "body", "made", "links", "expected"),
    [
        (
            AGENT,
            {"prompt": LAKE},
            response(),
            (BUCKET,),
            (
                f'{{"metadata":{{"images":[{{"prompt":"{LAKE}","url":"{BUCKET}"}}]}},'
                f'"response":"<img src=\\"{BUCKET}\\" alt=\\"{LAKE}\\" /><br />","status":200}}'
            ),
        ),
        (
            OXEN,
            {"prompt": "x", "model": "flux"},
            response(pb.Image(seed=7, revised_prompt="y"), model="tiny"),
            ("https://h/1.png",),
            '{"model":"flux","created":1677858242,"images":[{"url":"https://h/1.png","revised_prompt":"y"}]}',
        ),
        (
            OXEN,
            {"prompt": "x", "response_format": "b64_json"},
            response(model="tiny"),
            (),
            '{"model":"tiny","created":1677858242,"images":[{"b64_json":"YWJj"}]}',
        ),
        (
            APIPIE,
            {"prompt": DOG},
            response(pb.Image(seed=7, mime_type="image/jpeg", width=1024, height=1024, revised_prompt=LABRADOR)),
            ("https://apipie.ai/temp/uniquefilename.jpg",),
            (
                '{"created":1677858242,"data":[{"url":"https://apipie.ai/temp/uniquefilename.jpg",'
                f'"revised_prompt":"{LABRADOR}"}}]}}'
            ),
        ),
        (
            APIPIE,
            {"prompt": DOG, "response_format": "b64_json"},
            response(usage=pb.Usage(prompt_tokens=3)),
            (),
            (
                '{"created":1677858242,"data":[{"b64_json":"YWJj"}],"usage":{"total_tokens":3,"input_tokens":3,'
                '"output_tokens":0,"input_tokens_details":{"text_tokens":3,"image_tokens":0}}}'
            ),
        ),
        (
            AQUEDUCT,
            {"prompt": "x", "response_format": "b64_json"},
            response(),
            (),
            '{"created":1677858242,"data":[{"b64_json":"YWJj","seed":0}],"output_format":"png"}',
        ),
    ],
)
def test_documented_responses(
    dialect: Dialect, body: dict[str, Any], made: pb.GenerateImagesResponse, links: tuple[str, ...], expected: str
) -> None:
    """Pictures become each document's example, to the byte."""
    assert msgspec.json.encode(dialect.render(made, dialect.parse(body), 1677858242, links)).decode() == expected


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
            ({"model": "Stable Diffusion"}, request(width=720, height=1280, model="Stable Diffusion")),
        ],
        ids=str,
    )
    def test_fields(self, body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
        """What is left out has its documented default, and what the SDK sends beyond the document is taken."""
        call = AGENT.parse({"prompt": "x"} | body)
        assert call.request == expected
        assert call.links
        assert call.wishes == ("style",)

    def test_html(self) -> None:
        """One tag for each picture; prompt and link can't leave their attributes."""
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
                '[400,{},{"error":"Invalid \'prompt\': empty string. Say what the picture shall show.","status":400}]',
            ),
            (ServiceError("x", status=500), '[500,{"x-should-retry":"false"},{"error":"x","status":500}]'),
        ],
    )
    def test_errors(self, problem: GatewayError, expected: str) -> None:
        """Errors are a text and a status, and a bad key is 403, as the SDK expects."""
        assert msgspec.json.encode(AGENT.error(problem)).decode() == expected

    @pytest.mark.parametrize("ratio", ["wide", "16/9", "0:1", "1:0", "17:1", ""])
    def test_bad_ratio(self, ratio: str) -> None:
        """What is no ratio is named, with what would be right."""
        with pytest.raises(InvalidValue, match="'model_aspect_ratio': must be") as caught:
            AGENT.parse({"prompt": "x", "model_aspect_ratio": ratio})
        assert AGENT.error(caught.value).status == 400


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
            ({"guidance_scale": 0, "negative_prompt": "fog"}, request(guidance_scale=0, negative_prompt="fog")),
        ],
        ids=str,
    )
    def test_fields(self, body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
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
    def test_names(self, body: dict[str, Any], param: str) -> None:
        """A side at fault is named as the client said it."""
        assert OXEN.parse({"prompt": "x"} | body).names["height"] == param

    @pytest.mark.parametrize(
        ("body", "idle"),
        [
            ({"size": "64x64", "image_size": "square", "aspect_ratio": "4:3"}, ("image_size", "aspect_ratio")),
            ({"size": "512x512", "image_size": "square", "aspect_ratio": "1:1"}, ()),
            ({"image_size": "square", "aspect_ratio": "4:3"}, ("aspect_ratio",)),
            ({"aspect_ratio": "4:3"}, ()),
        ],
        ids=str,
    )
    def test_a_size_that_loses_against_another_is_named(self, body: dict[str, Any], idle: tuple[str, ...]) -> None:
        """Of sizes that contradict each other one is made, and the header names the others."""
        assert OXEN.parse({"prompt": "x"} | body).idle == idle

    @pytest.mark.parametrize("image_size", ["huge", {"width": 5}, {"width": 5, "height": 64}, 7])
    def test_bad_image_size(self, image_size: Any) -> None:
        """What is no size is told what would be one."""
        with pytest.raises(InvalidValue, match=r"'image_size': must be one of square_hd, .*, or {width, height} of 16"):
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
    def test_errors(self, problem: GatewayError, status: int, kind: str, title: str, detail: str) -> None:
        """Errors have both documented shapes at once."""
        failure = OXEN.error(problem)
        assert failure.status == status
        assert msgspec.json.encode(failure.body).decode() == (
            f'{{"error":{{"type":"{kind}","title":"{title}","detail":"{detail}","message":"{detail}"}},'
            f'"status":"error","status_message":"{kind}"}}'
        )


class TestApipie:
    def test_style(self) -> None:
        """Without a style it is natural, and nobody is told where the model has no such thing."""
        call = APIPIE.parse({"prompt": "x", "steps": 3})
        assert call.request == request(style="natural", steps=3)
        assert (call.wishes, call.unasked) == (("style",), ("style",))
        assert APIPIE.parse({"prompt": "x", "style": "vivid"}).unasked == ()

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            ({"aspect_ratio": "16:9"}, request(style="natural", width=1280, height=720)),
            ({"provider": "any", "strength": 0.5}, request(style="natural", strength=0.5)),
            ({"loras": [{"name": "a"}]}, request(style="natural", loras=[pb.Lora(name="a")])),
        ],
        ids=str,
    )
    def test_fields(self, body: dict[str, Any], expected: pb.GenerateImagesRequest) -> None:
        """Its further fields have their place, on the bare path as well."""
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
                ServiceError("no", status=400, reason="CONTENT_POLICY_VIOLATION"),
                (
                    '[400,{},{"error":{"message":"no","type":"invalid_request_error","param":null,'
                    '"code":"content_policy_violation"}}]'
                ),
            ),
            (
                EmptyPrompt(),
                (
                    '[400,{},{"error":{"message":"Invalid \'prompt\': empty string. Say what the picture shall show.",'
                    '"type":"invalid_request_error","param":"prompt","code":"invalid_parameter"}}]'
                ),
            ),
        ],
    )
    def test_errors(self, problem: GatewayError, expected: str) -> None:
        """Its documented codes, with OpenAI's four keys."""
        assert msgspec.json.encode(APIPIE.error(problem)).decode() == expected


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (
            ServiceError("no", status=401),
            '[401,{},{"error":{"message":"Authentication Required","type":"invalid_request_error"}}]',
        ),
        (
            ServiceError("no", status=403),
            '[403,{},{"error":{"message":"no","type":"permission_denied_error"}}]',
        ),
        (
            ServiceError("no", status=404, reason="MODEL_NOT_FOUND", param="model"),
            '[404,{},{"error":{"message":"no","type":"not_found_error","param":"model","code":"model_not_found"}}]',
        ),
        (
            ServiceError("later", status=429, retry_after=1),
            (
                '[429,{"retry-after":"1","retry-after-ms":"1000"},{"error":{"message":"later","type":"rate_limit_error",'
                '"code":"rate_limit_exceeded"}}]'
            ),
        ),
        (
            ServiceError("late", status=504),
            '[504,{"x-should-retry":"false"},{"error":{"message":"late","type":"timeout_error","code":"timeout"}}]',
        ),
        (
            ServiceError("x", status=503),
            '[503,{},{"error":{"message":"x","type":"server_error"}}]',
        ),
        (
            InvalidValue("n", "must be an integer from 1 to 10, not 11"),
            (
                '[400,{},{"error":{"message":"Invalid \'n\': must be an integer from 1 to 10, not 11.",'
                '"type":"invalid_request_error","param":"n","code":"invalid_value"}}]'
            ),
        ),
    ],
)
def test_aqueduct_errors(problem: GatewayError, expected: str) -> None:
    """Aqueduct's types follow from the status, and keys that would be null are left out."""
    assert msgspec.json.encode(AQUEDUCT.error(problem)).decode() == expected
