"""A service that makes real image files: the web UI's clients read the text in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.gateway.bodies import make_images

if TYPE_CHECKING:
    from tests.support.gateway.fakes import FakeService


@pytest.fixture
async def fake(fake: FakeService) -> FakeService:
    """The service: its behaviour and the requests that it received."""
    fake.behave = make_images
    return fake
