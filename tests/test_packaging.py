"""The installed package has the contents of the checkout, and the right requirements."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
FOLDERS = {package: ROOT / folder for package, folder in SETUPTOOLS["package-dir"].items()}

# Files that are not installed.
KEPT_OUT = ("export/constraints.txt", "export/constraints-peers.txt")


def folder_of(package: str) -> Path:
    """Return the folder that a package is installed from."""
    top = max((top for top in FOLDERS if f"{package}.".startswith(f"{top}.")), key=len)
    return FOLDERS[top].joinpath(*package.removeprefix(top).split("."))


def test_every_package_is_listed() -> None:
    """pyproject.toml lists every package, and no other folder."""
    there = {
        ".".join((top, *init.parent.relative_to(folder).parts))
        for top, folder in FOLDERS.items()
        for init in folder.rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == there


def test_every_module_is_in_a_package() -> None:
    """Every folder with modules has `__init__.py`, without which it would not be installed."""
    modules = [path for folder in FOLDERS.values() for path in folder.rglob("*.py")]
    assert [str(path.relative_to(ROOT)) for path in modules if not (path.parent / "__init__.py").is_file()] == []


def test_packages_are_typed() -> None:
    """Every top-level package has `py.typed`, so type checkers use its annotations."""
    assert [package for package, folder in FOLDERS.items() if not (folder / "py.typed").is_file()] == []


def test_data_is_listed() -> None:
    """A pattern of package-data matches every file that is not a module, so the wheel contains it."""
    data = SETUPTOOLS["package-data"]
    listed = {path for package, patterns in data.items() for each in patterns for path in folder_of(package).glob(each)}
    there = {
        path
        for folder in FOLDERS.values()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and not set(path.parts) & {"__pycache__"}
    }
    tracked = {ROOT / name for name in git("ls-files")}
    assert (there & tracked) - listed - {ROOT / name for name in KEPT_OUT} == set()


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints; none outside a repository."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def test_version_has_an_entry_in_the_changelog() -> None:
    """The newest heading of the changelog is the version of the package."""
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert heading is not None
    assert heading[1] == PYPROJECT["project"]["version"] == version("tintype")


def test_metadata() -> None:
    """The metadata has the licence and the Python versions."""
    said = metadata("tintype")
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")


PLATFORMS = [
    ("linux", "x86_64", "onnxruntime-gpu"),
    ("linux", "aarch64", "onnxruntime-gpu"),
    ("linux", "ppc64le", "onnxruntime"),
    ("win32", "AMD64", "onnxruntime-gpu"),
    ("win32", "ARM64", "onnxruntime"),
    ("darwin", "arm64", "onnxruntime"),
    ("darwin", "x86_64", "onnxruntime"),
    ("freebsd14", "amd64", "onnxruntime"),
]
GROUPS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def needs(texts: list[str], platform: str, machine: str) -> list[Requirement]:
    """Return the requirements on a platform, including those of tintype's own extras."""
    here = {"sys_platform": platform, "platform_machine": machine, "extra": ""}
    found = [need for need in map(Requirement, texts) if need.marker is None or need.marker.evaluate(here)]
    own = [text for need in found if need.name == "tintype" for extra in need.extras for text in GROUPS[extra]]
    return [*found, *(needs(own, platform, machine) if own else [])]


@pytest.mark.parametrize("extra", ["", *GROUPS])
@pytest.mark.parametrize(("platform", "machine", "runtime"), PLATFORMS)
def test_one_onnxruntime_everywhere(platform: str, machine: str, runtime: str, extra: str) -> None:
    """Every installation has the CUDA build where it exists, otherwise the plain build, and never both; plugins add."""
    texts = PYPROJECT["project"]["dependencies"] + GROUPS.get(extra, [])
    taken = {need.name for need in needs(texts, platform, machine) if need.name.startswith("onnxruntime")}
    taken = {name for name in taken if not name.startswith("onnxruntime-ep-")}
    assert taken == {runtime}


@pytest.mark.parametrize(("platform", "machine", "runtime"), PLATFORMS)
def test_onnxruntime_is_new_enough(platform: str, machine: str, runtime: str) -> None:
    """Onnxruntime is 1.31 or later, except on Intel Macs, where 1.23.2 was the last version."""
    found = [need for need in needs(PYPROJECT["project"]["dependencies"], platform, machine) if need.name == runtime]
    oldest = "1.23.2" if (platform, machine) == ("darwin", "x86_64") else "1.31.0"
    assert len(found) == 1
    assert not found[0].specifier.contains("1.30.9" if oldest == "1.31.0" else "1.22")
    assert found[0].specifier.contains(oldest)


def test_constraints_for_gpus_fit_the_extras() -> None:
    """The GPU constraints pin every requirement of the extras, exactly and to an allowed version."""
    lines = (ROOT / "constraints-gpu.txt").read_text("utf-8").splitlines()
    pins = {need.name: need for need in map(Requirement, filter(None, (line.partition("#")[0] for line in lines)))}
    assert all([each.operator for each in need.specifier] == ["=="] for need in pins.values())
    asked = [need for need in needs(GROUPS["tensorrt"], "linux", "x86_64") if need.name != "tintype"]
    asked += [
        Requirement(text.partition(";")[0])
        for text in metadata("onnxruntime-gpu").get_all("Requires-Dist") or ()
        if 'extra == "cuda"' in text or 'extra == "cudnn"' in text
    ]
    for need in asked:
        (pin,) = pins[need.name].specifier
        assert need.specifier.contains(pin.version), f"{need} does not allow {pins[need.name]}"


@pytest.mark.parametrize(("extra", "file"), [("export", "constraints.txt"), ("peers", "constraints-peers.txt")])
def test_constraints_of_exporters_fit_the_extras(extra: str, file: str) -> None:
    """The constraints pin every requirement of the extra, exactly and to an allowed version."""
    lines = (ROOT / "export" / file).read_text("utf-8").splitlines()
    pins = {need.name: need for need in map(Requirement, (line for line in lines if line[0] != "#"))}
    for need in needs(GROUPS[extra], "linux", "x86_64"):
        (pin,) = pins[need.name].specifier
        assert pin.operator == "=="
        assert need.specifier.contains(pin.version), f"{need} does not allow {pins[need.name]}"


def test_extras() -> None:
    """The extras have these names."""
    extras = metadata("tintype").get_all("Provides-Extra") or ()
    assert {"cuda", "tensorrt", "export", "peers", "s3", "cluster", "dev"} <= set(extras)


def test_the_command_is_installed() -> None:
    """The script `tintype` is installed, and its target exists."""
    (script,) = entry_points(group="console_scripts", name="tintype")
    assert callable(script.load())


def test_contract_is_installed() -> None:
    """The .proto file is installed with the stubs, for clients in other languages."""
    assert "service ImageService" in (files("tintype.v1") / "image_service.proto").read_text("utf-8")


def imported_by(code: str, names: set[str]) -> str:
    """Run code in a separate process, and return those of `names` that it imports. Raises if the code fails."""
    code += f"\nimport sys; print(*({names!r} & {{name.partition('.')[0] for name in sys.modules}}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    "module",
    ["service.server", "gateway.server", "cli.servers.up", "cli.generation.command", "cli.models", "cli.commands"],
)
def test_serving_imports_no_torch(module: str) -> None:
    """Servers and commands do not import torch or its relatives, even if they are installed."""
    assert imported_by(f"import tintype.{module}", {"torch", "diffusers", "transformers", "optimum", "onnx"}) == ""


def test_help_imports_little() -> None:
    """`tintype up --help` imports neither models nor servers."""
    code = """
from contextlib import redirect_stdout, suppress
from io import StringIO
from tintype.cli import main
with suppress(SystemExit), redirect_stdout(StringIO()):
    main(["up", "--help"])
"""
    assert imported_by(code, {"numpy", "onnxruntime", "grpc", "litestar", "httpx", "asyncio"}) == ""
    assert imported_by("import asyncio", {"asyncio"}) == "asyncio"
