"""Pipelines made once for all tests, and exported by the command itself. Without torch, what needs it is left out."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent

if find_spec("torch") is None:
    paths = HERE.rglob("test_*.py")
    collect_ignore = [str(path.relative_to(HERE)) for path in paths if "pytest.mark.torch" in path.read_text("utf-8")]


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a family's random pipeline, in diffusers' layout, made at the first call."""
    import torch  # noqa: PLC0415

    from tintype.export.tiny.pipelines import make  # noqa: PLC0415

    torch.set_num_threads(1)  # on a busy machine threads that wait for each other take thirty times as long
    root = tmp_path_factory.mktemp("pipelines")
    return cache(lambda family: make(family, root))


@pytest.fixture(scope="session")
def exported(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give the folder that `tintype export` makes of a family's pipeline, exported at the first call."""
    root = tmp_path_factory.mktemp("exported")

    @cache
    def made(family: str, *options: str) -> Path:
        out = root / "-".join((family, *options)).replace("--", "")
        assert export.main([str(pipelines(family)), str(out), *options, "--no-verify"]) == 0
        return out

    def give(family: str, precision: str = "fp32", *options: str) -> Path:
        return made(family, "--precision", precision, *options)

    return give
