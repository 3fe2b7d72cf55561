"""The pinned packages of a release: complete, checked by hashes, and consistent with each other and pyproject.toml."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.deploy import DEPLOY
from tests.support.source import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = {"cpu": ("s3", "otel"), "cuda": ("cuda", "s3", "otel")}
LINUX = {"sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.13", "extra": ""}


def text(kind: str) -> str:
    """Return the content of a file of pinned packages."""
    return (DEPLOY / "constraints" / f"{kind}.txt").read_text("utf-8")


def pins(content: str) -> dict[str, str]:
    """Return the versions by canonical name."""
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", content, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def wanted(kind: str) -> list[Requirement]:
    """Return what an installation asks for on Linux, with the plain onnxruntime for CPUs."""
    groups = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *(each for extra in EXTRAS[kind] for each in groups.get(extra, ()))]
    needs = [need for need in map(Requirement, texts) if need.marker is None or need.marker.evaluate(LINUX)]
    if kind == "cpu":
        needs = [need for need in needs if need.name != "onnxruntime-gpu"]
    return needs


@pytest.mark.parametrize("kind", ["cpu", "cuda", "build"])
def test_every_package_has_hashes(kind: str) -> None:
    """Each package has an exact version and a hash; the file names no index."""
    content = text(kind)
    entries = re.split(r"^(?=[\w.-]+==)", content, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pins(content)) > 0
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in entries)
    assert not re.search(r"://|--index|--find-links|--trusted", content)


@pytest.mark.parametrize("kind", EXTRAS)
def test_pins_fit_the_project(kind: str) -> None:
    """Every requirement is pinned, to a version that pyproject.toml allows. If not: make constraints."""
    found = pins(text(kind))
    for need in wanted(kind):
        name = canonicalize_name(need.name)
        assert name in found, f"{need} is not in {kind}.txt: run make constraints"
        assert need.specifier.contains(found[name]), f"{need} does not allow {found[name]}: run make constraints"


@pytest.mark.parametrize("kind", EXTRAS)
def test_pins_are_complete(kind: str) -> None:
    """What pinned packages need is pinned as well, as far as they are installed here; pip checks no dependency."""
    found = pins(text(kind))
    here = LINUX | {"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in found:
        try:
            needs = [Requirement(each) for each in requires(name) or ()]
        except PackageNotFoundError:
            continue
        missing = {
            canonicalize_name(need.name) for need in needs if need.marker is None or need.marker.evaluate(here)
        } - found.keys()
        assert missing == set(), f"{name} in {kind}.txt: run make constraints"


def test_kinds_share_their_versions() -> None:
    """Both images run the same versions; they differ in onnxruntime's build and in NVIDIA's libraries."""
    cpu, cuda = pins(text("cpu")), pins(text("cuda"))
    assert cpu["onnxruntime"] == cuda["onnxruntime-gpu"]
    assert {name: cuda[name] for name in cpu if name != "onnxruntime"} == {
        name: version for name, version in cpu.items() if name != "onnxruntime"
    }
    assert all(name.startswith("nvidia-") for name in cuda.keys() - cpu.keys() - {"onnxruntime-gpu"})


def test_libraries_of_nvidia_are_those_of_the_gpu_constraints() -> None:
    """The image has the versions that constraints-gpu.txt pins."""
    wanted_pins = pins((ROOT / "constraints-gpu.txt").read_text("utf-8"))
    del wanted_pins["tensorrt-cu13"]  # not in the image
    found = pins(text("cuda"))
    assert {name: found.get(name) for name in wanted_pins} == wanted_pins
