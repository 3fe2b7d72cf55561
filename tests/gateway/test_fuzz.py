"""Requests that `/openapi.json` allows or forbids: each response is described there."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.gateway.fakes import Service, config, running_gateway
from tintype.gateway.errors import Fault
from tintype.gateway.sdapi import BASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
EXAMPLES = {GenerationMode.POSITIVE: 10, GenerationMode.NEGATIVE: 5}  # of each operation
TIMEOUT = 60  # seconds for one answer, on a busy machine
KINDS = {"allowed": GenerationMode.POSITIVE, "forbidden": GenerationMode.NEGATIVE}


def check_no_server_error(_: Any, response: Any, case: Any) -> None:
    """Assert that there is no server error, except the web UI's 500 for an invalid image or model."""
    assert Fault().message not in response.text
    assert response.status_code < 500 or case.path.startswith(BASE)


CHECKS: list[Any] = [
    check_no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def distinct_operations(schema: Any) -> Iterator[Any]:
    """Yield distinct operations; the same operation on other paths is left out."""
    seen = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        raw = operation.definition.raw.items()
        definition = operation.method, repr([item for item in raw if item[0] not in ("operationId", "parameters")])
        if definition not in seen:
            seen.add(definition)
            yield operation


def find_problems(address: str, operation: Any, mode: GenerationMode, statuses: Counter[int]) -> Iterator[str]:
    """Yield what was wrong with the responses of one operation, and count the statuses."""

    @settings(
        max_examples=EXAMPLES[mode],
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send_case(case: Any) -> None:
        response = case.call(base_url=address, timeout=TIMEOUT, allow_redirects=False)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    try:
        send_case()
    except Unsatisfiable:
        return  # it has nothing that could be said wrongly
    except BaseExceptionGroup as error:
        yield from (f"{operation.label}: {one}" for one in error.exceptions)


def fuzz_all(address: str, description: dict[str, Any], mode: GenerationMode) -> tuple[list[str], Counter[int]]:
    """Call each operation; return the responses that were not as described, and the statuses."""
    schema = schemathesis.openapi.from_dict(description)
    statuses: Counter[int] = Counter()
    return [
        problem for one in distinct_operations(schema) for problem in find_problems(address, one, mode, statuses)
    ], statuses


@pytest.mark.parametrize("kind", KINDS)
async def test_responses_are_as_described(service: Service, tmp_path: Path, kind: str) -> None:
    """No request causes an error, status, type or body that the document does not describe."""
    async with running_gateway(config(service, tmp_path, fetch=False)) as client:
        description = (await client.get("/openapi.json")).json()
        address = str(client.base_url).rstrip("/")
        problems, statuses = await asyncio.to_thread(fuzz_all, address, description, KINDS[kind])
    assert problems == []
    if kind == "allowed":
        assert statuses[200] > 50, statuses
        assert service.fake.requests, "no request for images succeeded"
    else:
        assert statuses[400] > 10, statuses
        assert statuses[422] > 5, statuses
