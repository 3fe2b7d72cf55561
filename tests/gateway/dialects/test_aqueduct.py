"""Aqueduct's errors; the rest is OpenAI's."""

from __future__ import annotations

import msgspec
import pytest

from tintype.gateway.dialects import DIALECTS
from tintype.gateway.errors import GatewayError, InvalidValue, ServiceError

AQUEDUCT = DIALECTS["aqueduct"]


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
            '[503,{"x-should-retry":"false"},{"error":{"message":"x","type":"server_error"}}]',
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
def test_error_types_follow_from_the_status(problem: GatewayError, expected: str) -> None:
    """Aqueduct's types follow from the status, and keys that would be null are left out."""
    assert msgspec.json.encode(AQUEDUCT.error(problem)).decode() == expected
