"""A service whose pictures are real ones: the web UI's clients read what is written in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .bodies import drawn

if TYPE_CHECKING:
    from ..fakes import FakeService


@pytest.fixture
async def fake(fake: FakeService) -> FakeService:
    """What the service does and hears."""
    fake.behave = drawn
    return fake
