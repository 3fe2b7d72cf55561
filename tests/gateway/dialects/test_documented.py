"""agent.ai, Oxen, APIpie and Aqueduct to the byte: the examples of their documents, both ways."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.gateway.samples import request, response
from tintype.gateway.dialects import DIALECTS, Dialect
from tintype.v1 import image_service_pb2 as pb

AGENT = DIALECTS["agent.ai"]
OXEN = DIALECTS["oxen"]
APIPIE = DIALECTS["apipie"]
AQUEDUCT = DIALECTS["aqueduct"]
OPENAI = DIALECTS["openai"]

LAKE = "A serene mountain lake at sunset"
DOG = "Its a picture of a dog, driving a car"
LABRADOR = "A labrador retriever with lush chocolate fur is driving a red 1974 Stingray and..."
BUCKET = (
    "https://s3.us-east-2.amazonaws.com/asset-uploads.agent.ai/6b55e6923a78a17534d298e0708c764425dffc85fbd9c1c2d4f8fb3f"
    "_8af27bf1-c121-484f-a456-4c6c5628c5d0_20250217144148.jpg"
)


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
    """The example of each document becomes the request that it means."""
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
    """Images are rendered as the example of each document, to the byte."""
    assert msgspec.json.encode(dialect.render(made, dialect.parse(body), 1677858242, links)).decode() == expected
