"""Random pipelines, made and exported once for all tests; without torch the tests that need it are not collected."""

from __future__ import annotations

import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.export.verified import VERIFIED
from tintype import export

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent

if find_spec("torch") is None:
    paths = HERE.rglob("test_*.py")
    collect_ignore = [str(path.relative_to(HERE)) for path in paths if "pytest.mark.torch" in path.read_text("utf-8")]


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Return a function from a family to the folder of its random pipeline, made on the first call."""
    import torch  # noqa: PLC0415

    from tintype.export import exporter  # noqa: PLC0415
    from tintype.export.tiny.pipelines import write_pipeline  # noqa: PLC0415
    from tintype.service.models.families.table import FAMILIES  # noqa: PLC0415

    torch.set_num_threads(1)  # on a busy machine, threads that wait for each other are thirty times slower
    root = tmp_path_factory.mktemp("pipelines")
    with pytest.MonkeyPatch.context() as patch:
        # The fit takes a fifth of an export's time.
        patch.setattr(exporter, "PREVIEW_PIXELS", 128)
        patch.setattr(exporter, "PREVIEW_CELLS", 8)
        for name, family in FAMILIES.items():  # images of 1024 x 1024 pixels take ten seconds
            patch.setitem(FAMILIES, name, replace(family, native_side=128))
        yield cache(lambda family: write_pipeline(family, root))


class ExportOutput(NamedTuple):
    """The output of one call of the command: the folder, the printed JSON, and the progress lines."""

    folder: Path
    result: dict[str, Any]
    progress: str

    @property
    def checks(self) -> dict[str, dict[str, Any]]:
        """The passed checks, by name."""
        return {check["name"]: check for check in self.result["checks"]}


@pytest.fixture(scope="session")
def export_result(
    pipelines: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., ExportOutput]:
    """Return a function from family, precision and options to the output of `tintype export`.

    All tests share the folders: a test that writes to one uses a copy or links.
    """
    root = tmp_path_factory.mktemp("exported")

    @cache
    def made(family: str, precision: str, *options: str) -> ExportOutput:
        out = root / "-".join((family, precision, *options)).replace("--", "")
        verified = VERIFIED.get((precision, *options), ())
        arguments = [str(pipelines(family)), str(out), "--precision", precision, *options, "--json"]
        with redirect_stdout(StringIO()) as result, redirect_stderr(StringIO()) as progress:
            code = export.main(arguments if family in verified else [*arguments, "--no-verify"])
        assert code == 0, progress.getvalue()
        return ExportOutput(out, json.loads(result.getvalue()), progress.getvalue())

    return lambda family, precision="fp32", *options: made(family, precision, *options)


@pytest.fixture(scope="session")
def exported(export_result: Callable[..., ExportOutput]) -> Callable[..., Path]:
    """Return a function from family, precision and options to the exported folder."""
    return lambda family, *options: export_result(family, *options).folder
