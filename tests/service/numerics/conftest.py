"""Prints the differences that the comparison with diffusers measured, as a table."""

from collections.abc import Callable
from typing import Any

import pytest

differences: pytest.StashKey[dict[str, list[float]]] = pytest.StashKey()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """Return the function that records a difference for the table."""
    table = request.config.stash.setdefault(differences, {})
    return lambda name, difference: table.setdefault(name, []).append(difference)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table."""
    table = config.stash.get(differences, {})
    if table:
        terminalreporter.section("largest difference from diffusers' step(), relative to max(1, |x|)")
        for name, found in table.items():
            terminalreporter.write_line(f"{max(found):.1e}  {len(found):4d} runs  {name}")
