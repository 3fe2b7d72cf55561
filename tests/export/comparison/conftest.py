"""Every model with diffusers' pipeline beside it, and the table of differences at the end of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tintype.export.image_comparison import Studio

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin"
# Of 255: what may lie between two pictures of one seed, at any value.
LEVELS = 2.0
differences = pytest.StashKey[dict[str, float]]()


@dataclass(frozen=True)
class Pair:
    """One model twice: in the service's engine, and in diffusers."""

    studio: Studio
    pipeline: Any
    training_noise: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session")
def pair(exported: Callable[..., Path], pipelines: Callable[[str], Path]) -> Iterator[Callable[[str], Pair]]:
    """Give a model by name: builtin, or a family's, exported by the command."""
    from diffusers import DiffusionPipeline  # noqa: PLC0415 - it brings torch

    from tintype.export.image_comparison import Studio  # noqa: PLC0415
    from tintype.training import torch_pipeline  # noqa: PLC0415

    studios: list[Studio] = []

    @cache
    def made(name: str) -> Pair:
        builtin = name == "builtin"
        pipeline = torch_pipeline(BUILTIN) if builtin else DiffusionPipeline.from_pretrained(pipelines(name))
        studios.append(Studio([BUILTIN if builtin else exported(name)]))
        return Pair(studios[-1], pipeline, dict(pipeline.scheduler.config))

    yield made
    for studio in studios:
        studio.__exit__()


@pytest.fixture
def noted(request: pytest.FixtureRequest) -> Callable[[Any, Any], Any]:
    """Give what compares two arrays of pixels in 0..1, notes the largest difference for the table, and returns all."""
    table = request.config.stash.setdefault(differences, {})

    def difference(ours: Any, theirs: Any) -> Any:
        assert ours.shape == theirs.shape
        apart = (ours - theirs) * 255
        table[request.node.name.removeprefix("test_")] = float(abs(apart).max())
        return apart

    return difference


@pytest.fixture
def compare(noted: Callable[[Any, Any], Any]) -> Callable[[Any, Any], None]:
    """Give what compares two arrays of pixels in 0..1, notes the difference for the table, and fails if it is large."""

    def check(ours: Any, theirs: Any) -> None:
        apart = abs(noted(ours, theirs)).max()
        assert apart <= LEVELS, f"{apart:.2f} of 255 apart"

    return check


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the table."""
    table = config.stash.get(differences, {})
    if table:
        terminalreporter.section("largest difference from diffusers, in levels of 255")
        for name, apart in sorted(table.items(), key=lambda row: -row[1]):
            terminalreporter.write_line(f"{apart:9.5f}  {name}")
