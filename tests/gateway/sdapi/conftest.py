"""A service whose pictures are real ones: the web UI's clients read what is written in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.bodies import drawn

if TYPE_CHECKING:
    from tests.support.gateway.fakes import FakeService


@pytest.fixture
async def fake(fake: FakeService) -> FakeService:
    """What the service does and hears."""
    fake.behave = drawn
    return fake
