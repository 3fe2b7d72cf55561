"""From errors to gRPC: each error has a code, and trailers stay below gRPC's limit."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.service import errors
from tintype.service.rpc.status import MAX_TRAILERS, STATUS, size, to_status
from tintype.v1.reasons import DETAILS, DOMAIN

if TYPE_CHECKING:
    from tintype.service.rpc.status import Status

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.TintypeError)]


def details_of(status: Status) -> dict[str, Any]:
    """Return the details in the trailer of `status`, by name."""
    ((key, data),) = status.trailing
    assert key == DETAILS
    details = {}
    for packed in status_pb2.Status.FromString(data).details:
        kind = packed.TypeName().rpartition(".")[2]
        details[kind] = getattr(error_details_pb2, kind).FromString(packed.value)
    return details


def test_codes_match_the_documented_tree() -> None:
    """Each line of the tree in the docstring of errors.py has the code of the table."""
    drawn = [line.split() for line in (errors.__doc__ or "").splitlines() if line.rstrip().endswith(CODES)]
    codes = {next(word for word in words if word.isidentifier()): words[-1] for words in drawn}
    assert codes == {
        kind.__name__: code.name for kind, code in STATUS.items() if kind is not errors.TintypeError
    }  # the root is for errors without a row


CODES = tuple(code.name for code in grpc.StatusCode)


def test_every_error_has_a_code_and_a_reason() -> None:
    """Each error class has a code; only base classes have the root's reason."""
    reasons = {kind: kind.reason for kind in TREE}
    assert {kind.__name__ for kind, reason in reasons.items() if reason == "INTERNAL"} == {
        "TintypeError",
        "RetryLater",
        "PermissionDenied",
    }
    assert all(any(parent in STATUS for parent in kind.__mro__) for kind in TREE)


@pytest.mark.parametrize(
    ("error", "code", "kinds"),
    [
        (errors.InvalidField("steps", "must be 1"), grpc.StatusCode.INVALID_ARGUMENT, {"ErrorInfo", "BadRequest"}),
        (errors.ModelNotFound("x", ["a"]), grpc.StatusCode.NOT_FOUND, {"ErrorInfo"}),
        (errors.ModelBroken("x", ["no unet"]), grpc.StatusCode.FAILED_PRECONDITION, {"ErrorInfo"}),
        (errors.Unsupported("image", "not yet"), grpc.StatusCode.UNIMPLEMENTED, {"ErrorInfo"}),
        (errors.QueueFull("full", retry_after=1.5), grpc.StatusCode.RESOURCE_EXHAUSTED, {"ErrorInfo", "RetryInfo"}),
        (errors.QueueFull("full"), grpc.StatusCode.RESOURCE_EXHAUSTED, {"ErrorInfo"}),
        (errors.OutOfMemory("large"), grpc.StatusCode.RESOURCE_EXHAUSTED, {"ErrorInfo"}),
        (errors.Unavailable("bye", retry_after=3), grpc.StatusCode.UNAVAILABLE, {"ErrorInfo", "RetryInfo"}),
        (errors.DeadlineExceeded("late"), grpc.StatusCode.DEADLINE_EXCEEDED, {"ErrorInfo"}),
        (errors.Cancelled("left"), grpc.StatusCode.CANCELLED, {"ErrorInfo"}),
        (errors.GenerationFailed("black"), grpc.StatusCode.INTERNAL, {"ErrorInfo"}),
    ],
)
def test_each_error_has_its_details(error: errors.TintypeError, code: grpc.StatusCode, kinds: set[str]) -> None:
    """Each error has its code, message and ErrorInfo, and the details of its class."""
    status = to_status(error)
    details = details_of(status)
    assert (status.code, status.message) == (code, error.message)
    assert set(details) == kinds
    info = details["ErrorInfo"]
    assert (info.reason, info.domain, dict(info.metadata)) == (error.reason, DOMAIN, error.metadata)


def test_violations_and_delays() -> None:
    """BadRequest has all fields in order; RetryInfo has milliseconds."""
    faults = [errors.Violation("steps", "must be 1"), errors.Violation("loras[0].name", "must not be empty")]
    violations = details_of(to_status(errors.InvalidRequest(faults)))["BadRequest"].field_violations
    assert [(v.field, v.description) for v in violations] == [(f.field, f.problem) for f in faults]
    retry = details_of(to_status(errors.QueueFull("full", retry_after=0.25)))["RetryInfo"]
    assert retry.retry_delay.ToMilliseconds() == 250


def test_unexpected_exception_is_not_revealed(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected exception has a generic message; the log has its traceback."""
    status = to_status(KeyError("secret"))
    assert status.code is grpc.StatusCode.INTERNAL
    assert b"secret" not in status.trailing[0][1]
    assert "secret" not in status.message
    assert "KeyError: 'secret'" in caplog.text


@settings(max_examples=60, deadline=None)
@given(
    text=st.sampled_from(["x", "%", "ä", "木", "🌄"]),
    length=st.integers(0, 40_000),
    count=st.integers(1, 40),
)
def test_size_of_trailers_is_limited(text: str, length: int, count: int) -> None:
    """Long texts in any script are cut so that trailers stay below the limit, and remain valid text."""
    faults = [errors.Violation(f"loras[{i}].name", text * length) for i in range(count)]
    for error in (errors.InvalidRequest(faults), errors.ModelNotFound(text * length, [text * length])):
        status = to_status(error)
        assert size(status) < MAX_TRAILERS
        assert details_of(status)["ErrorInfo"].reason == error.reason


def test_short_errors_are_not_cut() -> None:
    """A short message is sent unchanged."""
    text = "木" * 300
    assert to_status(errors.GenerationFailed(text)).message == text
