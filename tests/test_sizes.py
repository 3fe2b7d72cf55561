"""Modules, packages and functions stay small enough to be read at once (CONTRIBUTING.md)."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

from tests.support.source import FOLDERS, modules, read

LONGEST_MODULE = 300  # lines
LARGEST_PACKAGE = 15  # modules, without `__init__` and `__main__`
LONGEST_FUNCTION = 60  # lines, from `def` to its end

# Packages that are larger, with the reason. The test fails as well if one is not larger any more: remove it here then.
LARGE_PACKAGES: dict[str, str] = {}
# Modules that are longer, likewise.
LONG_MODULES: dict[str, str] = {}

SOURCES = {path: read(path) for folder in (*FOLDERS, "protos") for path in modules(folder) if "_pb2" not in path.name}


def large(paths: list[Path]) -> set[str]:
    """Return the packages with more than LARGEST_PACKAGE modules."""
    counts = Counter(path.parent.as_posix() for path in paths if not path.stem.startswith("__"))
    return {package for package, count in counts.items() if count > LARGEST_PACKAGE}


def long_functions(source: str) -> set[str]:
    """Return the functions of a module with more than LONGEST_FUNCTION lines."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in nodes if (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION}


def test_packages() -> None:
    """No package has more modules than a reader can keep in mind, except those that are listed."""
    assert large(list(SOURCES)) == LARGE_PACKAGES.keys()


def test_modules() -> None:
    """No module is longer than LONGEST_MODULE lines, except those that are listed."""
    found = {path.as_posix() for path, source in SOURCES.items() if source.count("\n") > LONGEST_MODULE}
    assert found == LONG_MODULES.keys()


def test_functions() -> None:
    """No function is longer than LONGEST_FUNCTION lines."""
    found = {path.as_posix(): long_functions(source) for path, source in SOURCES.items()}
    assert {path: names for path, names in found.items() if names} == {}


def test_exceptions_are_found() -> None:
    """A package, and a function, that are one too large are found; those at the limit pass."""
    paths = [Path(f"service/x/m{number}.py") for number in range(LARGEST_PACKAGE)]
    assert large([*paths, Path("service/x/__init__.py")]) == set()
    assert large([*paths, Path("service/x/more.py")]) == {"service/x"}
    body = "    pass\n"
    assert long_functions("def fits():\n" + body * (LONGEST_FUNCTION - 1)) == set()
    assert long_functions("async def long():\n" + body * LONGEST_FUNCTION) == {"long"}
