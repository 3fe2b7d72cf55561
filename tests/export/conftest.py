"""Pipelines made once for all tests, and exported by the command itself. Without torch, what needs it is left out."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent

if find_spec("torch") is None:
    paths = HERE.rglob("test_*.py")
    collect_ignore = [str(path.relative_to(HERE)) for path in paths if "pytest.mark.torch" in path.read_text("utf-8")]


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Give the folder of a family's random pipeline, in diffusers' layout, made at the first call."""
    import torch  # noqa: PLC0415

    from tintype.export import exporter  # noqa: PLC0415
    from tintype.export.tiny.pipelines import make  # noqa: PLC0415

    torch.set_num_threads(1)  # on a busy machine threads that wait for each other take thirty times as long
    root = tmp_path_factory.mktemp("pipelines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "PREVIEW_SIZE", 16)  # what it is fitted on takes a fifth of an export's time
        yield cache(lambda family: make(family, root))


class Export(NamedTuple):
    """What one call of the command left: the folder, the result that it printed as JSON, and the lines of its way."""

    folder: Path
    result: dict[str, Any]
    way: str

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The checks that it passed, by their names."""
        return {check["name"]: check for check in self.result["checks"]}


# Verifying takes as long as exporting: it is left out where no test looks at what it found.
VERIFIED: dict[str, tuple[str, ...] | None] = {
    "fp32": None,  # all of them
    "fp16": ("sd15",),
    "int8": ("sdxl_inpaint", "sd3", "flux_schnell", "sana"),
}


@pytest.fixture(scope="session")
def told(pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Export]:
    """Give what `tintype export` makes of a family's pipeline, and what it says, exported at the first call.

    All tests share the folder: who writes to one takes a copy, or links to it.
    """
    root = tmp_path_factory.mktemp("exported")

    @cache
    def made(family: str, precision: str, *options: str) -> Export:
        out = root / "-".join((family, precision, *options)).replace("--", "")
        verified = VERIFIED[precision] is None or family in (VERIFIED[precision] or ())
        arguments = [str(pipelines(family)), str(out), "--precision", precision, *options, "--json"]
        with redirect_stdout(StringIO()) as result, redirect_stderr(StringIO()) as way:
            code = export.main(arguments if verified and not options else [*arguments, "--no-verify"])
        assert code == 0, way.getvalue()
        return Export(out, json.loads(result.getvalue()), way.getvalue())

    return lambda family, precision="fp32", *options: made(family, precision, *options)


@pytest.fixture(scope="session")
def exported(told: Callable[..., Export]) -> Callable[..., Path]:
    """Give the folder of `told`."""
    return lambda family, *options: told(family, *options).folder
