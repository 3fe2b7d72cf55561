"""The document at `/openapi.json`: valid, complete, and in agreement with the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.gateway.fakes import FakeService, Refusal
from tintype.gateway.app import create_app
from tintype.gateway.config import GatewayConfig
from tintype.gateway.dialects import dialects_by_path
from tintype.gateway.openapi.document import document
from tintype.gateway.openapi.operation import API
from tintype.gateway.settings.clients import SHARED_PATH_DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from litestar import Litestar

pytestmark = pytest.mark.anyio
METHODS = ("delete", "get", "head", "post")
EVERYWHERE = {"x-content-type-options"}


def build_app(data: Path, **fields: Any) -> Litestar:
    """A gateway that is used only for its description."""
    client: Any = None
    return create_app(GatewayConfig(data=data, **fields), client).litestar


async def fetch_document(gateway: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await gateway.get("/openapi.json")).json())


def list_operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_document_is_valid_openapi(gateway: httpx.AsyncClient) -> None:
    """It is OpenAPI 3.1 according to an independent validator."""
    problems = OpenAPIV31SpecValidator(await fetch_document(gateway)).iter_errors()
    assert [str(problem) for problem in problems] == []


async def test_each_route_is_described(gateway: httpx.AsyncClient, tmp_path: Path) -> None:
    """Every route is in the document: no handler lacks a description."""
    paths = (await fetch_document(gateway))["paths"]
    served = build_app(tmp_path).routes
    handlers = [(route.path, handler) for route in served for handler in route.route_handlers]  # type: ignore[union-attr]
    bare = [path for path, handler in handlers if API not in handler.opt and "OPTIONS" not in handler.http_methods]
    assert bare == []
    assert set(dialects_by_path("openai")) <= set(paths)
    assert {"/v1/models", "/v1/models/{name}", "/files/{access}/{name}", "/livez", "/docs"} <= set(paths)
    assert sum(path.startswith("/sdapi/v1/") for path in paths) > 20


async def test_each_field_is_described(gateway: httpx.AsyncClient) -> None:
    """Every field has a description."""
    kinds = (await fetch_document(gateway))["components"]["schemas"]
    bare = [
        f"{kind}.{name}"
        for kind, schema in kinds.items()
        for name, field in schema["properties"].items()
        if not field.get("description")
    ]
    assert bare == []
    assert not [kind for kind, schema in kinds.items() if not schema["description"]]


async def test_ranges_and_defaults(gateway: httpx.AsyncClient) -> None:
    """The document has the limits of each number, and the value that an absent field stands for."""
    fields = (await fetch_document(gateway))["components"]["schemas"]["ImagesRequest"]["properties"]
    number = fields["n"]["anyOf"][0]
    assert (number["minimum"], number["maximum"], fields["n"]["default"]) == (1, 10, 1)
    assert fields["output_format"]["default"] == "png"
    unlimited = [
        name
        for name, field in fields.items()
        for choice in field.get("anyOf", [field])
        if choice.get("type") in ("integer", "number") and not {"minimum", "maximum"} <= set(choice)
    ]
    assert unlimited == []


async def test_paths_keep_the_order_of_their_table(gateway: httpx.AsyncClient) -> None:
    """Paths that share a handler come in the order of their table, in each process: the vendor's own comes first."""
    paths = list((await fetch_document(gateway))["paths"])
    for kind in ("generations", "edits", "variations"):
        served = [path for path in paths if path.endswith(f"/images/{kind}") and "{" not in path]
        own = [path for path in dialects_by_path("openai") if path.endswith(f"/images/{kind}")]
        assert [path for path in served if path in own] == own
        azure = f"/openai/deployments/{{deployment}}/images/{kind}"
        assert paths.index(azure) == paths.index(f"/openai/images/{kind}") + 1
    models = [path for path in paths if path.endswith("/models") and "sdapi" not in path]
    assert models[:2] == ["/v1/models", "/models"]


async def test_operations_are_complete(gateway: httpx.AsyncClient) -> None:
    """Each has a summary and a unique name, and describes each response."""
    all_operations = list(list_operations(await fetch_document(gateway)))
    names = [operation["operationId"] for _, _, operation in all_operations]
    assert len(set(names)) == len(names)
    for path, method, operation in all_operations:
        assert method in METHODS, path
        assert operation["summary"], path
        assert "200" in operation["responses"], path
        assert all(answer["description"] for answer in operation["responses"].values()), path


@pytest.mark.parametrize("shared", SHARED_PATH_DIALECTS)
async def test_examples_are_valid(tmp_path: Path, shared: str) -> None:
    """The examples of each dialect are valid requests and responses."""
    served = build_app(tmp_path, dialect=shared)
    routes = {path: handler for route in served.routes for path, handler in [(route.path, route.route_handlers[0])]}  # type: ignore[union-attr]
    for path, dialect in dialects_by_path(shared).items():
        operation = routes[path].opt[API]
        body = operation.request["application/json"].example
        assert dialect.parse(body).request.count <= 1
        example = operation.responses[200].content["application/json"].example
        msgspec.convert(example, dialect.response_type)


def _usual_status(path: str) -> int:
    """Return the status of a request that succeeds: a submitted job is not done yet."""
    return 202 if path.endswith("/jobs") else 200


def example_requests(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Yield path, method, example and schema of each request with a JSON body."""
    for path, method, operation in list_operations(description):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if media is not None:
            name = media["schema"].get("$ref", "").rpartition("/")[2]
            schema = description["components"]["schemas"][name] if name else media["schema"]
            yield path.replace("{deployment}", "dall-e-3"), method, media["example"], schema


async def test_each_example_is_served(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """Each example request of the document is answered with 2xx, on each path."""
    del fake
    examples = list(example_requests(await fetch_document(gateway)))
    assert len(examples) > 35
    failed = []
    for path, method, body, _ in examples:
        answer = await gateway.request(method, path, json=body)
        if answer.status_code != _usual_status(path) or "x-tintype-ignored" in answer.headers:
            failed.append((path, answer.status_code, answer.text[:200], dict(answer.headers)))
    assert failed == []


async def test_each_example_of_a_field_is_served(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """So are the examples of single fields, each in place of the example's own value."""
    del fake
    distinct = {
        repr(schema): (path, method, body, schema)
        for path, method, body, schema in example_requests(await fetch_document(gateway))
    }
    bodies = [
        (path, body | {name: value})
        for path, _, body, schema in distinct.values()
        for name, field in schema["properties"].items()
        for value in field.get("examples", ())
    ]
    assert len(bodies) > 40
    answers = [(path, body, await gateway.post(path, json=body)) for path, body in bodies]
    failed = [answer for answer in answers if answer[2].status_code != _usual_status(answer[0])]
    assert [(path, body, answer.text) for path, body, answer in failed] == []


async def test_required_fields_are_exact(gateway: httpx.AsyncClient, fake: FakeService) -> None:
    """A request without a required field fails, and one with only the required fields succeeds."""
    for path, method, body, schema in example_requests(await fetch_document(gateway)):
        alternatives = [one["required"] for one in schema.get("anyOf", ())]
        required = {*schema.get("required", ()), *(alternatives[0] if alternatives else ())}
        minimal = {key: value for key, value in body.items() if key in required}
        assert required <= set(minimal), path
        assert (await gateway.request(method, path, json=minimal)).status_code == _usual_status(path)
        for key in required:
            rest = {name: value for name, value in minimal.items() if name != key}
            answer = await gateway.request(method, path, json=rest)
            assert 400 <= answer.status_code < 500, (path, key)
    assert fake.requests


async def test_forms_are_described(gateway: httpx.AsyncClient) -> None:
    """A form requires its image, and describes a mask, in edits as in variations."""
    paths = (await fetch_document(gateway))["paths"]
    for path, required in {"/v1/images/edits": ["image", "prompt"], "/v1/images/variations": ["image"]}.items():
        schema = paths[path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert schema["required"] == required
        assert {schema["properties"][name]["format"] for name in ("image", "mask")} == {"binary"}


async def test_limits_are_exact(gateway: httpx.AsyncClient) -> None:
    """Limits that a float cannot represent are in the document to the last digit."""
    document = (await gateway.get("/openapi.json")).text
    long = set(re.findall(r'"m(?:in|ax)imum":(-?\d{16,})', document))
    assert long == {str(2**63 - 1), str(-(2**63))}


async def test_options_name_every_method(gateway: httpx.AsyncClient) -> None:
    """OPTIONS succeeds on each path, and names each method that the document has there."""
    for path, methods in (await fetch_document(gateway))["paths"].items():
        answer = await gateway.options(path.replace("{", "").replace("}", ""))
        assert answer.status_code == 204, path
        assert {method.upper() for method in methods} <= set(answer.headers["allow"].split(", ")), path


async def test_error_schema_is_the_vendors(gateway: httpx.AsyncClient) -> None:
    """The schema of an error is that of the vendor of its path."""
    paths = (await fetch_document(gateway))["paths"]
    kinds = {
        "/v1/images/generations": "ErrorResponse",
        "/oxen/api/ai/images/generate": "OxenError",
        "/agent.ai/v1/action/generate_image": "AgentAiError",
        "/aqueduct/v1/images/generations": "AqueductError",
        "/sdapi/v1/txt2img": "WebUiError",
    }
    for path, kind in kinds.items():
        responses = paths[path]["post"]["responses"]
        schema = responses["500"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{kind}"}
        assert "507" in responses or kind == "WebUiError"
    assert "401" not in paths["/v1/action/generate_image"]["post"]["responses"]


@pytest.mark.parametrize(
    ("code", "delay"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 2),
        (grpc.StatusCode.UNAVAILABLE, 2),
        (grpc.StatusCode.DEADLINE_EXCEEDED, None),
        (grpc.StatusCode.INTERNAL, None),
        (grpc.StatusCode.UNIMPLEMENTED, None),
    ],
)
@pytest.mark.parametrize("path", ["/v1/images/generations", "/aqueduct/images/generations", "/sdapi/v1/txt2img"])
async def test_error_headers_are_described(
    gateway: httpx.AsyncClient, fake: FakeService, path: str, code: grpc.StatusCode, delay: float | None
) -> None:
    """Headers of errors are described: when to retry, or that a retry does not help."""
    fake.behave = Refusal(code, "x", "REASON", delay=delay)
    answer = await gateway.post(path, json={"prompt": "x"})
    documented = (await fetch_document(gateway))["paths"][path]["post"]["responses"][str(answer.status_code)]["headers"]
    assert {name for name in answer.headers if name.startswith(("retry", "x-"))} - EVERYWHERE <= set(documented)
    assert {"retry-after-ms", "x-should-retry"} & set(answer.headers)


def test_required_keys_are_stated() -> None:
    """If keys are required, the document says so."""
    dialect_of: Any = None
    assert document([], dialect_of, keys=False)["security"] == [{}]
    assert {"bearer": []} in document([], dialect_of, keys=True)["security"]
