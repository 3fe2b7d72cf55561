"""Fixtures for the tests of the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.cli.images.inputs import read_stdin

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def unread_stdin() -> Iterator[None]:
    """Forget what an earlier test gave as stdin: a process reads it once."""
    read_stdin.cache_clear()
    yield
    read_stdin.cache_clear()
