"""JSON bodies: what is read, and what is refused before it uses memory or time."""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PATH
from tintype.gateway.errors import NotJson
from tintype.gateway.http.json_request import MAX_DEPTH, MAX_VALUES, decode_json

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.fakes import FakeService

BODY = {"prompt": "a lake, ünlit", "n": 1}


def nested(depth: int) -> bytes:
    """Return a value of `depth` nested lists."""
    return b"[" * depth + b"]" * depth


def test_a_byte_order_mark_is_accepted() -> None:
    """UTF-8 may begin with a byte order mark, which some editors and shells write."""
    assert decode_json(codecs.BOM_UTF8 + json.dumps(BODY).encode()) == BODY


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_refused(encoding: str) -> None:
    """Text in another encoding is refused with its name, with or without a mark."""
    with pytest.raises(NotJson, match="in UTF-8, not in UTF-16 or UTF-32"):
        decode_json(json.dumps(BODY).encode(encoding))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nan",
        b'{"a": 1} x',
        b'"\xff"',
        codecs.BOM_UTF8,
        codecs.BOM_UTF8 * 2 + b"{}",
        b'{"a":' + b"1" * 100_000 + b"}",
    ],
)
def test_invalid_json_is_refused(data: bytes) -> None:
    """Invalid JSON is refused."""
    with pytest.raises(NotJson):
        decode_json(data)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 500, 900, 990, 1_000, 100_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":', b"[0,"])
def test_deep_nesting_is_refused(opening: bytes, depth: int) -> None:
    """Nesting is limited well below the interpreter's own limit, whatever is nested, closed or not."""
    closing = b"".join({b"[": b"]", b"{": b"}"}[bytes([one])] for one in reversed(opening) if one in b"[{")
    for text in (opening * depth + b"0" + closing * depth, opening * depth):
        with pytest.raises(NotJson):
            decode_json(text)


def test_nesting_up_to_the_limit_is_read() -> None:
    """Nesting up to the limit is read; brackets within strings do not count."""
    assert decode_json(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    text = {"prompt": "[{" * 10_000}
    assert decode_json(json.dumps(text).encode()) == text


@pytest.mark.parametrize("value", [b"[],", b"{},", b"0,", b'"",', b'{"a":0},'])
def test_too_many_values_are_refused(value: bytes) -> None:
    """A body of many small values, which would use forty times its size in memory, is not built."""
    with pytest.raises(NotJson, match=f"at most {MAX_VALUES} values"):
        decode_json(b"[" + value * MAX_VALUES + b"0]")


def test_the_longest_prompts_are_read() -> None:
    """The longest prompts stay below the limit, whatever characters they have."""
    body = {"prompt": "," * 32_000, "negative_prompt": "[{" * 16_000}
    assert decode_json(json.dumps(body).encode()) == body


@pytest.mark.anyio
@pytest.mark.parametrize("depth", [60, 300, 900, 950, 980, 990, 100_000])
@pytest.mark.parametrize(
    ("path", "key"),
    [
        (PATH, "n"),
        (PATH, "unknown"),
        ("/v1/images/edits", "image"),
        ("/v1/images/variations", "mask"),
        ("/v1/action/generate_image", "model_style"),
        ("/api/ai/images/generate", "image_size"),
        ("/sdapi/v1/txt2img", "styles"),
        ("/sdapi/v1/txt2img", "script_args"),
        ("/sdapi/v1/options", "sd_model_checkpoint"),
    ],
)
async def test_deep_fields_give_no_server_error(
    gateway: httpx.AsyncClient, fake: FakeService, path: str, key: str, depth: int
) -> None:
    """A deeply nested field, known or not, never gives a server error."""
    del fake
    body = b'{"prompt":"x","image":"aGk=","%b":%b}' % (key.encode(), nested(depth))
    answer = await gateway.post(path, content=body, headers={"content-type": "application/json"})
    message: dict[str, Any] = answer.json()
    assert answer.status_code < 500 or "not found" in str(message), message


@pytest.mark.anyio
async def test_a_byte_order_mark_is_accepted_over_http(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A body with a byte order mark is served."""
    answer = await gateway.post(
        PATH, content=codecs.BOM_UTF8 + json.dumps(BODY).encode(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    assert fake.requests[0].prompt == BODY["prompt"]
