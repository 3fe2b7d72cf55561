"""Generate the Python stubs of the contract and of ONNX (`make protos`). With `--check`, check that they are current.

The versions in requirements.txt are part of the contract: stubs that they generate run on protobuf 6 and 7.

`image_service.binpb` is the contract as last released. `make protos-check` and the tests compare the contract with it,
so that clients of a release keep working; each release updates it. Until the first release it is the contract as last
agreed, so a deliberate incompatible change updates it too:

    buf build --exclude-source-info --output protos/image_service.binpb
"""

# ruff: noqa: INP001  # a script, not a module of a package

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"tintype/v1": "protos/tintype/v1", "tintype/service": "service"}
"""Where protoc finds a file, by the folder of its name: a process registers a file under its name once."""

CONTRACT = ("python", "pyi", "grpc_python", "mypy_grpc")
MESSAGES = ("python", "pyi")
STUBS = {"python": "_pb2.py", "pyi": "_pb2.pyi", "grpc_python": "_pb2_grpc.py", "mypy_grpc": "_pb2_grpc.pyi"}
FILES = {
    "tintype/v1/image_service.proto": CONTRACT,
    "tintype/service/models/templates/onnx.proto": MESSAGES,
}
"""Each file with the kinds of its stubs."""


def generate(folder: Path) -> list[Path]:
    """Generate the stubs into `folder`; return their paths relative to it."""
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    paths = (f"-I{name}={ROOT / place}" for name, place in PACKAGES.items())
    command = [sys.executable, "-m", "grpc_tools.protoc", *paths, f"--plugin={plugin.name}={plugin}"]
    for file, kinds in FILES.items():
        subprocess.run([*command, *(f"--{kind}_out={folder}" for kind in kinds), file], check=True)  # noqa: S603 - our own
    return [Path(file.removesuffix(".proto") + STUBS[kind]) for file, kinds in FILES.items() for kind in kinds]


def main(arguments: list[str]) -> int:
    """Write the stubs; with `--check`, print the stubs that differ and return 1 if there are any."""
    with TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        stale = [path for path in fresh if not _equal(_committed(path), Path(folder, path))]
        if arguments != ["--check"]:
            for path in stale:
                shutil.copyfile(Path(folder, path), _committed(path))
            return 0
    for path in stale:
        sys.stderr.write(f"{_committed(path).relative_to(ROOT)} does not match its .proto: run `make protos`\n")
    return 1 if stale else 0


def _committed(stub: Path) -> Path:
    """Return the place of a stub in the repository."""
    name = next(name for name in PACKAGES if stub.is_relative_to(name))
    return ROOT / PACKAGES[name] / stub.relative_to(name)


def _equal(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
