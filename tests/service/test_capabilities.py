"""Checks of a job against its model: errors that name what the model has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.service.capabilities import check_supported
from tintype.service.errors import InvalidField
from tintype.service.job import Control, ImageFile, Job

if TYPE_CHECKING:
    from tintype.service.models import ModelSpec


@pytest.fixture
def spec(fake_repository: type) -> ModelSpec:
    """Return a model without ControlNets and IP-Adapters."""
    return fake_repository().spec()


def test_unknown_names_have_their_article(spec: ModelSpec) -> None:
    """The error for an unknown ControlNet or IP-Adapter reads as a sentence."""
    for job, what in (
        (Job(prompt="x", controls=(Control(name="odd", image=b""),)), "a ControlNet"),
        (Job(prompt="x", image_prompts=(ImageFile(name="odd", image=b""),)), "an IP-Adapter"),
    ):
        with pytest.raises(InvalidField, match=f"'odd' is not {what} of model"):
            check_supported(job, spec)
