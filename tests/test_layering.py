"""The walls between the folders, read from the syntax trees (docs/decisions/0002).

- The folders' own names are never imported: `service/` is `tintype.service` to others, and `.` to itself.
- `gateway` and `service` know only `tintype.v1` of the rest of the house; `export` is its own, and so is `cli` on top.
- What brings torch is imported only in `export`, and in tests that need it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("service", "gateway", "cli", "export")
ALLOWED = {
    "service": {"tintype.v1"},
    "gateway": {"tintype.v1"},
    "cli": {"tintype.v1", "tintype.service", "tintype.gateway"},
    "export": {"tintype.v1", "tintype.service"},
}
TORCH = {"torch", "torchvision", "diffusers", "transformers", "optimum", "onnx", "onnxconverter_common"}


def imported(source: str) -> set[str]:
    """Return what a module imports absolutely, by full dotted names; relative imports stay in the folder."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def climbs(source: str, depth: int) -> set[int]:
    """Return the levels of relative imports that leave a folder from a module `depth` folders below its top."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return {node.level for node in nodes if node.level > depth + 1}


def faults(room: str, source: str, depth: int = 0) -> set[str]:
    """Return what one module of `room` should not import."""
    names = imported(source)
    wrong = {name for name in names if name.partition(".")[0] in ROOMS}
    house = {".".join(name.split(".")[:2]) for name in names if name.partition(".")[0] == "tintype"}
    wrong |= house - ALLOWED[room]
    if room != "export":
        wrong |= {name for name in names if name.partition(".")[0] in TORCH}
    return wrong | {"." * level for level in climbs(source, depth)}


def modules(folder: str) -> list[Path]:
    return sorted(path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", [path for room in ROOMS for path in modules(room)], ids=str)
def test_walls(path: Path) -> None:
    """A module imports only what its folder may."""
    room, *between, _ = path.parts
    assert not faults(room, (ROOT / path).read_text("utf-8"), len(between))


@pytest.mark.parametrize("path", modules("tests"), ids=str)
def test_tests_name_packages_as_users_do(path: Path) -> None:
    """No test imports a folder by its bare name, which only a checkout has."""
    bare = {name for name in imported((ROOT / path).read_text("utf-8")) if name.partition(".")[0] in ROOMS}
    assert not bare


@pytest.mark.parametrize("path", modules("tests"), ids=str)
def test_torch_is_marked(path: Path) -> None:
    """A test module that names torch's world is marked for it, so that `make test` never needs it."""
    source = (ROOT / path).read_text("utf-8")
    needs = {name for name in imported(source) if name.partition(".")[0] in TORCH}
    needs |= set(re.findall(rf"importorskip\(['\"]({'|'.join(sorted(TORCH))})\b", source))
    helper = not path.name.startswith("test_")  # imported by tests that are marked
    assert not needs or helper or "mark.torch" in source


@pytest.mark.parametrize(
    ("room", "source"),
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
    ],
)
def test_faults_are_found(room: str, source: str) -> None:
    """The walls stand: each of these would be noticed."""
    assert faults(room, source)


@pytest.mark.parametrize(
    "source", ["from . import job", "from .engine import queue", "import onnxruntime", "import onnx_x"]
)
def test_what_is_allowed(source: str) -> None:
    """The walls have doors."""
    assert not faults("service", source)
