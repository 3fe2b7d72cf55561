"""The page about the Python API lists the names that the packages export."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from tests.support.source import FOLDERS, ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "python-api.md").read_text("utf-8")
PACKAGES = ("v1", *FOLDERS)
LIGHT = ("v1", "service", "gateway", "cli")  # those that need no torch


def listed() -> set[tuple[str, str]]:
    """Return package and name of each row of the page's table."""
    return set(re.findall(r"^\| `tintype\.(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_lists_all(package: str) -> None:
    """A package's `__all__` and its rows of the table are the same, and every name exists."""
    names = getattr(import_module(f"tintype.{package}"), "__all__", [])
    assert {(package, name) for name in names} == {row for row in listed() if row[0] == package}
    scope: dict[str, object] = {}
    exec(f"from tintype.{package} import *", scope)  # noqa: S102 - a constant
    assert set(names) <= scope.keys()


def test_unknown_names_are_errors() -> None:
    """A misspelt name is an AttributeError that names the package."""
    with pytest.raises(AttributeError, match=r"module 'tintype\.service' has no attribute 'sevre'"):
        _ = import_module("tintype.service").sevre


def test_packages_load_no_server() -> None:
    """Importing a package loads neither gRPC nor onnxruntime nor Litestar."""
    modules = ", ".join(f"tintype.{package}" for package in LIGHT)
    code = f"import sys, {modules}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"grpc", "onnxruntime", "litestar", "numpy"} & set(loaded) == set()


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    """The page's example makes an image with the built-in model."""
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d{4,} bytes\n", done.stdout)
