"""The description at `/openapi.json`: valid, complete, and true of what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tintype.gateway.app import create_app
from tintype.gateway.config import SHARING, GatewayConfig
from tintype.gateway.described import API
from tintype.gateway.dialects import bound
from tintype.gateway.openapi import document

from .fakes import FakeService, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from litestar import Litestar

pytestmark = pytest.mark.anyio
METHODS = ("get", "head", "post")
EVERYWHERE = {"x-content-type-options"}


def app(data: Path, **fields: Any) -> Litestar:
    """A gateway that is only asked what it serves."""
    client: Any = None
    return create_app(GatewayConfig(data=data, **fields), client)


async def described(gateway: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await gateway.get("/openapi.json")).json())


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_valid(gateway: httpx.AsyncClient) -> None:
    """It is OpenAPI 3.1, as a validator that is not ours reads that standard."""
    problems = OpenAPIV31SpecValidator(await described(gateway)).iter_errors()
    assert [str(problem) for problem in problems] == []


async def test_each_route_is_described(gateway: httpx.AsyncClient, tmp_path: Path) -> None:
    """Whatever is served is in the document: no handler goes without a description of its own."""
    paths = (await described(gateway))["paths"]
    served = app(tmp_path).routes
    handlers = [(route.path, handler) for route in served for handler in route.route_handlers]  # type: ignore[union-attr]
    bare = [path for path, handler in handlers if API not in handler.opt and "OPTIONS" not in handler.http_methods]  # type: ignore[union-attr]
    assert bare == []
    assert set(bound("openai")) <= set(paths)
    assert {"/v1/models", "/v1/models/{name}", "/files/{access}/{name}", "/livez", "/docs"} <= set(paths)
    assert sum(path.startswith("/sdapi/v1/") for path in paths) > 20


async def test_each_field_is_described(gateway: httpx.AsyncClient) -> None:
    """A field says what it means."""
    kinds = (await described(gateway))["components"]["schemas"]
    bare = [
        f"{kind}.{name}"
        for kind, schema in kinds.items()
        for name, field in schema["properties"].items()
        if not field.get("description")
    ]
    assert bare == []
    assert not [kind for kind, schema in kinds.items() if not schema["description"]]


async def test_ranges_and_defaults(gateway: httpx.AsyncClient) -> None:
    """Where a number has limits the document says them, and what counts where a field is absent."""
    fields = (await described(gateway))["components"]["schemas"]["ImagesRequest"]["properties"]
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


async def test_operations(gateway: httpx.AsyncClient) -> None:
    """Each has a summary and a name of its own, and tells each answer."""
    all_of_them = list(operations(await described(gateway)))
    names = [operation["operationId"] for _, _, operation in all_of_them]
    assert len(set(names)) == len(names)
    for path, method, operation in all_of_them:
        assert method in METHODS, path
        assert operation["summary"], path
        assert "200" in operation["responses"], path
        assert all(answer["description"] for answer in operation["responses"].values()), path


@pytest.mark.parametrize("shared", SHARING)
async def test_examples(tmp_path: Path, shared: str) -> None:
    """Each dialect's examples are what it reads, and what it answers."""
    served = app(tmp_path, dialect=shared)
    routes = {path: handler for route in served.routes for path, handler in [(route.path, route.route_handlers[0])]}  # type: ignore[union-attr]
    for path, dialect in bound(shared).items():
        operation = routes[path].opt[API]  # type: ignore[union-attr]
        body = operation.request["application/json"].example
        assert dialect.parse(body).request.count <= 1
        told = operation.answers[200].content["application/json"].example
        msgspec.convert(told, dialect.response_type)


async def test_errors_are_the_dialects(gateway: httpx.AsyncClient) -> None:
    """An error's schema is the one of the vendor whose path it is."""
    paths = (await described(gateway))["paths"]
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
async def test_headers_of_errors(
    gateway: httpx.AsyncClient, fake: FakeService, path: str, code: grpc.StatusCode, delay: float | None
) -> None:
    """What an error says in headers is described: when to try again, or that it is of no use."""
    fake.behave = Refusal(code, "x", "REASON", delay=delay)
    answer = await gateway.post(path, json={"prompt": "x"})
    told = (await described(gateway))["paths"][path]["post"]["responses"][str(answer.status_code)]["headers"]
    assert {name for name in answer.headers if name.startswith(("retry", "x-"))} - EVERYWHERE <= set(told)
    assert {"retry-after-ms", "x-should-retry"} & set(answer.headers)


def test_keys() -> None:
    """Where keys are needed the document says so."""
    speaks: Any = None
    assert document([], speaks, keys=False)["security"] == [{}]
    assert {"bearer": []} in document([], speaks, keys=True)["security"]
