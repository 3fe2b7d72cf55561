"""JSON whose base64 is encoded while it is sent: the same bytes as if encoded at once."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gateway.fakes import PATH, FakeService, image
from tintype.gateway.dialects import DIALECTS
from tintype.gateway.http.response_body import PIECE, JsonBody, render_body
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.anyio


def response(*files: bytes) -> pb.GenerateImagesResponse:
    images = [pb.Image(index=index, data=data, mime_type="image/png") for index, data in enumerate(files)]
    return pb.GenerateImagesResponse(images=images, model="tiny")


@pytest.mark.parametrize("name", ["openai", "apipie", "aqueduct", "oxen"])
@given(files=st.lists(st.binary(max_size=9), max_size=3), prompt=st.text())
def test_the_body_equals_the_encoded_json(name: str, files: list[bytes], prompt: str) -> None:
    """For any files and dialect, the body is the JSON, of the stated length."""
    dialect = DIALECTS[name]
    call = dialect.parse({"prompt": f"x{prompt}", "response_format": "b64_json"})
    body = render_body(lambda message: dialect.render(message, call, 5, ()), response(*files))
    encoded = b"".join(body)
    assert encoded == msgspec.json.encode(dialect.render(response(*files), call, 5, ()))
    assert len(body) == len(encoded)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 2])
def test_files_are_encoded_in_short_pieces(size: int) -> None:
    """A file of any length is encoded without gaps, in short pieces."""
    file = os.urandom(size)
    body = JsonBody([b"<", b">"], [file])
    pieces = list(body)
    assert b"".join(pieces) == b"<" + base64.b64encode(file) + b">"
    assert len(body) == sum(map(len, pieces))
    assert max(map(len, pieces)) <= PIECE * 4 // 3


def test_links_have_no_file() -> None:
    """A dialect that answers links has no file in its JSON."""
    dialect = DIALECTS["agent.ai"]
    body = render_body(
        lambda message: dialect.render(message, dialect.parse({"prompt": "x"}), 5, ["u"]), response(b"abc")
    )
    assert msgspec.json.decode(b"".join(body))["status"] == 200


async def test_large_images_arrive_complete(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Large images arrive complete, with a Content-Length."""
    files = [os.urandom(1_000_001) for _ in range(3)]

    async def large(*_: Any) -> Any:
        for index, data in enumerate(files):
            yield image(index, data=data)
        yield pb.StreamImagesResponse(completed=pb.Completed(model="tiny"))

    fake.behave = large
    for headers in ({}, {"idempotency-key": "large"}, {"idempotency-key": "large"}):
        answer = await gateway.post(PATH, json={"prompt": "x", "n": 3, "response_format": "b64_json"}, headers=headers)
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert "transfer-encoding" not in answer.headers
        assert [base64.b64decode(one["b64_json"], validate=True) for one in answer.json()["data"]] == files
    assert len(fake.requests) == 2
