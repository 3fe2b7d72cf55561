"""A default installation has no torch and nothing built with Rust."""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

# Strings that rustc and its libraries leave in a binary, stripped or not.
RUST = re.compile(rb"rust_eh_personality|rust_begin_unwind|/rustc/|/\.cargo/registry/|core::panicking|PyO3")
BINARY = re.compile(r"\.(so|pyd|dll|dylib|exe)(\.[\d.]+)?$")
MAGIC = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
CHUNK = 1 << 24


def closure(name: str) -> dict[str, Distribution]:
    """Return `name` and all its requirements on this platform, by canonical name, with requested extras only."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting = [(name, "")]
    while waiting:
        one = waiting.pop()
        if one in asked:
            continue
        asked.add(one)
        found[one[0]] = distribution(one[0])
        for text in found[one[0]].requires or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": one[1]}):
                waiting += [(canonicalize_name(need.name), extra) for extra in ("", *need.extras)]
    return found


def binaries(package: Distribution) -> list[Path]:
    """Return the binaries of a distribution: libraries by name, programs by their first bytes."""
    files = [Path(str(package.locate_file(file))) for file in package.files or []]
    return [file for file in files if file.is_file() and (BINARY.search(file.name) or starts_as_program(file))]


def starts_as_program(file: Path) -> bool:
    if file.suffix:
        return False
    with file.open("rb") as stream:
        return stream.read(4).startswith(MAGIC)


def has_rust(file: Path) -> bool:
    """Return whether a binary has marks of Rust, also across the border of two chunks."""
    with file.open("rb") as stream:
        rest = b""
        while chunk := stream.read(CHUNK):
            if RUST.search(rest + chunk):
                return True
            rest = chunk[-32:]
    return False


@pytest.fixture(scope="module")
def installed() -> dict[str, Distribution]:
    return closure("tintype")


def test_closure_is_complete(installed: dict[str, Distribution]) -> None:
    """The closure has known direct and indirect requirements."""
    assert {"tintype", "grpcio", "numpy", "litestar", "msgspec", "anyio"} <= set(installed)
    assert any(name.startswith("onnxruntime") for name in installed)
    assert "pytest" not in installed


def test_no_torch(installed: dict[str, Distribution]) -> None:
    """A default installation has neither torch nor its relatives."""
    assert not {"torch", "diffusers", "transformers", "optimum", "tokenizers", "safetensors"} & set(installed)


def test_no_rust(installed: dict[str, Distribution]) -> None:
    """No shared library or program of the installation was built with Rust."""
    found = {
        f"{name}: {file.name}" for name, package in installed.items() for file in binaries(package) if has_rust(file)
    }
    assert not found


def test_binaries_are_seen(installed: dict[str, Distribution]) -> None:
    """The search includes binaries that are known to exist."""
    for name in ("grpcio", "numpy", "msgspec"):
        assert binaries(installed[name]), name


@pytest.mark.parametrize(("name", "file"), [("pydantic_core", "_pydantic_core"), ("ruff", "ruff")])
def test_rust_is_recognised(name: str, file: str) -> None:
    """Packages of the development environment that are built with Rust are recognised."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not here")
    suspects = [path for path in binaries(package) if path.name.startswith(file)]
    assert suspects
    assert all(has_rust(path) for path in suspects)


@pytest.mark.parametrize("name", ["openvino"])
def test_engines_by_extras_have_no_rust(name: str) -> None:
    """Runtimes that an extra installs have nothing built with Rust either."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not here")
    assert binaries(package)
    assert not [file.name for file in binaries(package) if has_rust(file)]


def test_the_exporter_of_traces_has_no_rust() -> None:
    """OpenTelemetry's packages, which the extra `otel` installs, and what they need have nothing built with Rust."""
    try:
        packages = closure("opentelemetry-exporter-otlp-proto-http")
    except PackageNotFoundError:
        pytest.skip("opentelemetry is not here")
    assert "opentelemetry-sdk" in packages
    assert not [file for package in packages.values() for file in binaries(package) if has_rust(file)]
