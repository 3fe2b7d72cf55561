"""Reasons of errors: one enum for service and gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.gateway import errors as gateway_errors
from tintype.gateway.access import rejections
from tintype.gateway.jobs import errors as job_errors
from tintype.gateway.sdapi import errors as sdapi_errors
from tintype.service import errors as service_errors
from tintype.v1.reasons import Reason

if TYPE_CHECKING:
    from types import ModuleType


def reasons(module: ModuleType, base: type[Exception]) -> list[str]:
    """Return the reasons of all error classes of a module below `base`."""
    classes = [found for found in vars(module).values() if isinstance(found, type) and issubclass(found, base)]
    return [found.reason for found in classes if hasattr(found, "reason")]


@pytest.mark.parametrize(
    ("module", "base"),
    [
        (service_errors, service_errors.TintypeError),
        (gateway_errors, gateway_errors.GatewayError),
        (rejections, gateway_errors.GatewayError),
        (sdapi_errors, gateway_errors.GatewayError),
        (job_errors, gateway_errors.GatewayError),
    ],
    ids=lambda given: given.__name__,
)
def test_every_error_has_a_reason_of_the_enum(module: ModuleType, base: type[Exception]) -> None:
    """Every error class has a member of the enum as its reason, not a string."""
    found = reasons(module, base)
    assert found
    assert all(isinstance(reason, Reason) for reason in found)


def test_a_name_equals_its_value() -> None:
    """Programs compare reasons by name, so name and value are equal."""
    assert all(reason.name == reason.value == str(reason) for reason in Reason)


def test_an_unknown_name_is_kept() -> None:
    """A newer service may send a reason that this gateway does not know."""
    assert Reason.named("QUEUE_FULL") is Reason.QUEUE_FULL
    assert Reason.named("FROM_THE_FUTURE") == "FROM_THE_FUTURE"
