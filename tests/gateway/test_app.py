"""Rules for every request and response over HTTP, with a real gRPC server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.gateway.fakes import PATH
from tests.support.gateway.openai_errors import check_error

if TYPE_CHECKING:
    import httpx

    from tests.support.gateway.fakes import FakeService

pytestmark = pytest.mark.anyio


async def test_unknown_path_is_in_openais_format(gateway: httpx.AsyncClient) -> None:
    """An unknown path is answered in OpenAI's format."""
    assert "/v2/x" in check_error(await gateway.get("/v2/x"), 404, "invalid_request_error", None, None)


async def test_wrong_method_gets_the_allowed(gateway: httpx.AsyncClient) -> None:
    """A wrong method gets the allowed ones."""
    answer = await gateway.get(PATH)
    assert "POST" in answer.headers["allow"]
    check_error(answer, 405, "invalid_request_error", None, None)


async def test_bare_options_succeed(gateway: httpx.AsyncClient) -> None:
    """A plain OPTIONS succeeds: some clients probe with it."""
    for path in (PATH, "/v1/models", "/v1/action/generate_image", "/"):
        assert (await gateway.options(path)).status_code == 204


async def test_responses_cannot_act_as_pages(gateway: httpx.AsyncClient) -> None:
    """No response can act as a page or script; any page may show a result, which runs nothing."""
    for path in ("/", "/v1/models", "/nothing"):
        headers = (await gateway.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert headers["referrer-policy"] == "no-referrer"
    link = (await gateway.post(PATH, json={"prompt": "x"})).json()["data"][0]["url"]
    headers = (await gateway.get(link)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].endswith("sandbox")
    assert headers["cross-origin-resource-policy"] == "cross-origin"
    assert len(headers.get_list("content-security-policy")) == 1


@pytest.mark.parametrize("path", ["//v1//images/generations", "/v1/images/generations/", "/v1/images/generations?"])
async def test_repeated_slashes_have_no_effect(gateway: httpx.AsyncClient, path: str) -> None:
    """Repeated slashes and a bare question mark have no effect and cause no redirect."""
    url = f"{gateway.base_url}".rstrip("/") + path
    assert (await gateway.post(url, json={"prompt": "x"})).status_code == 200


async def test_large_body_is_refused(gateway: httpx.AsyncClient) -> None:
    """A body above the limit is refused, with and without Content-Length."""
    body = b'{"prompt": "' + b"x" * 200_000 + b'"}'

    async def chunks() -> Any:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    json = {"content-type": "application/json"}
    for content in (body, chunks()):
        answer = await gateway.post(PATH, content=content, headers=json)
        assert "100000" in check_error(answer, 413, "invalid_request_error", None, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"x"',
        b"null",
        b"\xff",
        b'{"prompt": "\xff"}',
        b"[" * 50_000,
        b'{"a": 1e999}',
        rb'{"prompt": "\ud800"}',
    ],
)
async def test_body_that_is_not_json_is_400(gateway: httpx.AsyncClient, body: bytes) -> None:
    """A body that is not a JSON object gives 400, never 500, without Python's own messages."""
    answer = await gateway.post(PATH, content=body, headers={"content-type": "application/json"})
    assert "recursion" not in check_error(answer, 400, "invalid_request_error", None, None)


async def test_invalid_host_is_400(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """An invalid host gives 400, before an image is generated for a link to it."""
    answer = await gateway.post(PATH, json={"prompt": "x"}, headers={"host": "localhost:99999"})
    assert "'host'" in check_error(answer, 400, "invalid_request_error", None, None)
    assert not fake.requests


async def test_other_content_type_is_refused(gateway: httpx.AsyncClient) -> None:
    """Another content type is refused; a missing one means JSON."""
    answer = await gateway.post(PATH, data={"prompt": "x"})
    assert "application/json" in check_error(answer, 415, "invalid_request_error", None, None)
    assert (await gateway.post(PATH, content=b'{"prompt": "x"}')).status_code == 200


async def test_references_of_the_document_resolve(gateway: httpx.AsyncClient) -> None:
    """All references of the API description resolve, and the prompt is the only required field."""
    answer = await gateway.get("/openapi.json")
    description = answer.json()
    schemas = description["components"]["schemas"]
    references = {part.split('"')[0] for part in answer.text.split("#/components/schemas/")[1:]}
    assert references <= set(schemas)
    assert schemas["ImagesRequest"]["required"] == ["prompt"]
    assert description["paths"][PATH]["post"]["responses"]["200"]


async def test_hostile_request_id_is_replaced(gateway: httpx.AsyncClient) -> None:
    """An id that could be harmful in a log or header is replaced."""
    answer = await gateway.get("/livez", headers={"x-request-id": "a b\tc"})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_log_line_has_no_secrets(gateway: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    """A request is logged in one line, without its prompt and without a link's signature."""
    caplog.set_level(logging.INFO)
    answer = await gateway.post(PATH, json={"prompt": "a secret lake"})
    link = answer.json()["data"][0]["url"]
    await gateway.get(link)
    lines = [record.getMessage() for record in caplog.records if record.name == "tintype.gateway.access"]
    file = f"/files/-/{link.rpartition('/')[2]}"
    assert f"method=POST path={PATH} status=200" in lines[0]
    assert f"method=GET path={file} status=200" in lines[1]
    assert lines[0].startswith(f"id={answer.headers['x-request-id']} ")
    assert "secret" not in caplog.text
    assert link.split("/")[-2] not in "".join(lines)
