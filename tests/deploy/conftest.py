"""Programs that check the files of deploy/."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def program() -> Callable[[str], str]:
    """A function that returns the path of a program, and skips the test without it."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed; `make test-deploy` installs what it can")
        return path

    return find
