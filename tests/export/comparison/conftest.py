"""Models paired with diffusers' pipelines, and a table of the differences at the end of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tintype.export.image_comparison import LocalService

BUILTIN = Path(__file__).parents[3] / "service" / "models" / "builtin"
# Largest allowed difference of two images of one seed, at any value, of 255.
LEVELS = 2.0
QWEN_SHARE = 64  # of the pixels of Qwen-Image-Edit's images: 1024 x 1024 becomes 128 x 128
differences = pytest.StashKey[dict[str, float]]()


@dataclass(frozen=True)
class ModelPair:
    """One model in the service's engine and in diffusers."""

    service: LocalService
    pipeline: Any
    training_noise: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="session", autouse=True)
def small_references() -> Iterator[None]:
    """Resize images to edit to small sizes on both sides: a megapixel would take a second each."""
    from diffusers.pipelines.flux import pipeline_flux_kontext, pipeline_flux_kontext_inpaint  # noqa: PLC0415
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit as qwen_edit  # noqa: PLC0415
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_inpaint as qwen_inpaint  # noqa: PLC0415
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as qwen_edit_plus  # noqa: PLC0415

    from tintype.service.images import references  # noqa: PLC0415

    qwen_size = references.qwen_size
    sizes = ((96, 160), (128, 128), (160, 96))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "KONTEXT_SIZES", sizes)
        for module in (pipeline_flux_kontext, pipeline_flux_kontext_inpaint):
            patch.setattr(module, "PREFERRED_KONTEXT_RESOLUTIONS", sizes)
        patch.setattr(references, "qwen_size", lambda size, area: qwen_size(size, area // QWEN_SHARE))
        for module in (qwen_edit, qwen_inpaint, qwen_edit_plus):
            patch.setattr(module, "calculate_dimensions", _smaller(module.calculate_dimensions))
        yield


def _smaller(calculate: Callable[..., Any]) -> Callable[..., Any]:
    return lambda area, ratio: calculate(area // QWEN_SHARE, ratio)


@pytest.fixture(scope="session")
def pair(exported: Callable[..., Path], pipelines: Callable[[str], Path]) -> Iterator[Callable[[str], ModelPair]]:
    """Return a function from a name to a model pair: `builtin`, or a family, exported by the command."""
    from diffusers import DiffusionPipeline  # noqa: PLC0415 - imports torch

    from tintype.export.image_comparison import LocalService  # noqa: PLC0415
    from tintype.training import torch_pipeline  # noqa: PLC0415

    services: list[LocalService] = []

    @cache
    def made(name: str) -> ModelPair:
        builtin = name == "builtin"
        pipeline = (
            torch_pipeline(BUILTIN) if builtin else DiffusionPipeline.from_pretrained(pipelines(name), processor=None)
        )
        services.append(LocalService([BUILTIN if builtin else exported(name)]))
        return ModelPair(services[-1], pipeline, dict(pipeline.scheduler.config))

    yield made
    for service in services:
        service.__exit__()


@pytest.fixture
def record_difference(request: pytest.FixtureRequest) -> Callable[[Any, Any], Any]:
    """Return a function that compares pixels in 0..1, records the test's largest difference, returns all of them."""
    table = request.config.stash.setdefault(differences, {})

    def record(ours: Any, theirs: Any) -> Any:
        assert ours.shape == theirs.shape
        difference = (ours - theirs) * 255
        case = request.node.name.removeprefix("test_")
        table[case] = max(table.get(case, 0.0), float(abs(difference).max()))
        return difference

    return record


@pytest.fixture
def compare(record_difference: Callable[[Any, Any], Any]) -> Callable[[Any, Any], None]:
    """Return a function that compares pixels in 0..1, records the difference, and fails if it exceeds the limit."""

    def check(ours: Any, theirs: Any) -> None:
        difference = abs(record_difference(ours, theirs)).max()
        assert difference <= LEVELS, f"the images differ by {difference:.2f} of 255"

    return check


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of differences."""
    table = config.stash.get(differences, {})
    if table:
        terminalreporter.section("largest difference from diffusers, in levels of 255")
        for name, difference in sorted(table.items(), key=lambda row: -row[1]):
            terminalreporter.write_line(f"{difference:9.5f}  {name}")
