"""The page about adding a vendor: its module works, and does what the page says."""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.support.gateway.samples import request
from tintype.gateway.errors import GatewayError, InvalidValue
from tintype.gateway.openapi.schemas import struct_schemas
from tintype.v1 import image_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tintype.gateway.dialects import Dialect

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "adding-a-vendor.md").read_text(encoding="utf-8")
MODULE = "tintype.gateway.dialects.acme"


def code_blocks(language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def acme() -> Iterator[Dialect]:
    """The dialect of the page's module."""
    module = module_from_spec(ModuleSpec(MODULE, None))
    sys.modules[MODULE] = module  # msgspec looks types up there
    exec(compile(code_blocks("python")[0], "acme.py", "exec"), module.__dict__)  # noqa: S102 - our own page
    yield module.DIALECT
    del sys.modules[MODULE]


def json_block(index: int) -> dict[str, Any]:
    """Return one of the page's JSON objects."""
    return dict(msgspec.json.decode(code_blocks("json")[index]))


def test_example_request_is_parsed(acme: Dialect) -> None:
    """The page's request has the result that the page says."""
    call = acme.parse(json_block(0))
    assert call.request == request(prompt="a lake", count=2, width=512, height=768)
    assert call.ignored == ("colour",)


def test_example_error_is_rendered(acme: Dialect) -> None:
    """The page's invalid request has the error that the page says."""
    with pytest.raises(InvalidValue) as caught:
        acme.parse({"prompt": "a lake", "amount": 11})
    failure = acme.error(caught.value)
    assert failure.status == 400
    assert msgspec.to_builtins(failure.body) == json_block(1)


def test_response_has_links_or_base64(acme: Dialect) -> None:
    """Images are rendered as links or as base64."""
    response = pb.GenerateImagesResponse(images=[pb.Image(data=b"abc")])
    call = acme.parse(acme.example.body)
    assert msgspec.to_builtins(acme.render(response, call, 0, ())) == {"paintings": [{"data": "YWJj"}]}
    links = ["http://h/1.png"]
    assert msgspec.to_builtins(acme.render(response, call, 0, links)) == {"paintings": [{"link": links[0]}]}


def test_fields_are_described(acme: Dialect) -> None:
    """Every field of the module is described in the API's document."""
    described = struct_schemas([acme.request_type, acme.response_type, acme.error_type])
    fields = [field for schema in described.values() for field in schema["properties"].values()]
    assert all(field["description"] for field in fields)
    assert described["AcmeRequest"]["properties"]["amount"]["default"] == 1


def test_error_says_when_to_retry(acme: Dialect) -> None:
    """An error says when a retry may help."""
    problem = GatewayError("later")
    problem.status, problem.retry_after = 429, 2.0
    assert acme.error(problem).headers["retry-after"] == "2"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:gateway|tests)/[\w/]+\.py)`", PAGE))))
def test_named_files_exist(path: str) -> None:
    """The files that the page names are there, except those that the reader adds."""
    assert (ROOT / path).is_file() or path.endswith("acme.py")
