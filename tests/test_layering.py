"""The rules for imports, read from the syntax trees (docs/decisions/0002).

- The folders' own names are never imported: `service/` is `tintype.service` outside, and `.` inside itself.
- `gateway` and `service` import only `tintype.v1` of the project; `cli` and `export` import what ALLOWED lists.
- Ray is imported only in `cluster`, and in tests that run with it.
- Packages that bring torch are imported only in TORCH_FOLDERS, and in tests that are marked `torch`.
- No modules import each other in a circle; imports in functions and under TYPE_CHECKING count.
- Tests import their helpers absolutely, from `tests.support`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.source import FOLDERS, PACKAGES, circles, import_graph, imports, modules, read

ALLOWED = {
    "service": {"tintype.v1"},
    "gateway": {"tintype.v1"},
    "cluster": {"tintype.v1", "tintype.service"},
    "cli": {"tintype.v1", "tintype.service", "tintype.gateway", "tintype.cluster"},
    "export": {"tintype.v1", "tintype.service"},
    "training": {"tintype.v1", "tintype.service", "tintype.export"},
}
RAY_FOLDER = "cluster"
RAY_TESTS = Path("tests/cluster/ray")
TORCH_FOLDERS = {"export", "training"}
TORCH = {"torch", "torchvision", "diffusers", "transformers", "optimum", "onnx", "onnxconverter_common"}


def top(name: str) -> str:
    """Return the first part of a dotted name."""
    return name.partition(".")[0]


def absolute(source: str) -> set[str]:
    """Return the full dotted names that a module imports absolutely."""
    return {each.absolute for each in imports(source) if not each.level}


def faults(folder: str, source: str, depth: int = 0) -> set[str]:
    """Return the imports that a module of `folder`, `depth` packages below it, must not have."""
    names = absolute(source)
    wrong = {name for name in names if top(name) in PACKAGES}
    project = {".".join(name.split(".")[:2]) for name in names if top(name) == "tintype"}
    wrong |= project - ALLOWED[folder]
    if folder != RAY_FOLDER:
        wrong |= {name for name in names if top(name) == "ray"}
    if folder not in TORCH_FOLDERS:
        wrong |= {name for name in names if top(name) in TORCH}
    return wrong | {"." * each.level for each in imports(source) if each.level > depth + 1}


def unmarked(path: Path, source: str) -> bool:
    """Return whether a test module uses torch or its relatives without the mark."""
    needs = any(top(name) in TORCH for name in absolute(source))
    needs |= bool(re.search(rf"importorskip\(['\"]({'|'.join(sorted(TORCH))})\b", source))
    helper = not path.name.startswith("test_")  # imported by tests that are marked
    return needs and not helper and "mark.torch" not in source


@pytest.mark.parametrize("folder", FOLDERS)
def test_walls(folder: str) -> None:
    """Every module imports only what its folder may."""
    found = {str(path): faults(folder, read(path), len(path.parts) - 2) for path in modules(folder)}
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_tests_name_packages_as_users_do() -> None:
    """No test imports a folder by its bare name, which only a checkout has."""
    found = {str(path): {name for name in absolute(read(path)) if top(name) in PACKAGES} for path in modules("tests")}
    assert {path: bare for path, bare in found.items() if bare} == {}


def test_tests_import_helpers_absolutely() -> None:
    """A test module that moves keeps its imports."""
    assert [str(path) for path in modules("tests") if any(each.level for each in imports(read(path)))] == []


def test_torch_is_marked() -> None:
    """A test module that needs torch is marked for it, so that `make test` runs without torch."""
    assert [str(path) for path in modules("tests") if unmarked(path, read(path))] == []


def test_ray_is_not_needed() -> None:
    """No other test imports Ray, so `make test` runs without it."""
    others = [path for path in modules("tests") if not path.is_relative_to(RAY_TESTS)]
    assert [str(path) for path in others if any(top(name) == "ray" for name in absolute(read(path)))] == []


def test_no_circles() -> None:
    """No module imports itself through others, type-checking imports counted."""
    sources = {path: read(path) for folder in FOLDERS for path in modules(folder)}
    assert circles(import_graph(sources)) == []


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("service", "import service.job"),
        ("service", "from service import job"),
        ("service", "from tintype.gateway import app"),
        ("gateway", "import tintype.service.errors"),
        ("gateway", "def late():\n    from tintype import service"),
        ("service", "from ..gateway import app"),
        ("service", "import torch.nn"),
        ("gateway", "from onnx import helper"),
        ("export", "from tintype.gateway import app"),
        ("export", "from tintype.training import task"),
    ],
)
def test_faults_are_found(folder: str, source: str) -> None:
    """Each of these imports is refused."""
    assert faults(folder, source)


@pytest.mark.parametrize(
    "source", ["from . import job", "from .engine import queue", "import onnxruntime", "import onnx_x"]
)
def test_allowed_imports_pass(source: str) -> None:
    """Each of these imports is accepted."""
    assert not faults("service", source)


def test_unmarked_modules_are_found() -> None:
    """An import of torch without the mark is found, a skip too; helpers and marked modules pass."""
    test, helper = Path("tests/test_x.py"), Path("tests/support/x.py")
    assert unmarked(test, "import torch.nn")
    assert unmarked(test, "import pytest\npytest.importorskip('diffusers')")
    assert not unmarked(test, "import torch\npytestmark = pytest.mark.torch")
    assert not unmarked(helper, "import torch")


def test_circles_are_found() -> None:
    """A circle through a type-checking import, a function and a package is found; a chain is not one."""
    sources = {
        Path("service/a.py"): "if TYPE_CHECKING:\n    from .b import B",
        Path("service/b.py"): "def late():\n    from tintype.service.c import engine",
        Path("service/c/__init__.py"): "from .. import a",
        Path("service/d.py"): "from . import a, e",
        Path("service/e.py"): "import tintype.service.a",
    }
    assert circles(import_graph(sources)) == [["tintype.service.a", "tintype.service.b", "tintype.service.c"]]
