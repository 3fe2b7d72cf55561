"""Generate the Python stubs of the contract (`make protos`). With `--check`, check that they are up to date.

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

PROTOS = Path(__file__).resolve().parent
CONTRACT = "tintype/v1/image_service.proto"
STUBS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(folder: Path) -> list[Path]:
    """Generate the stubs into `folder`; return their paths relative to it."""
    kinds = ("python", "pyi", "grpc_python", "mypy_grpc")
    plugin = Path(sys.executable).parent / "protoc-gen-mypy_grpc"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--plugin={plugin.name}={plugin}"]
    subprocess.run([*command, *(f"--{kind}_out={folder}" for kind in kinds), CONTRACT], check=True)  # noqa: S603 - our own
    return [Path(CONTRACT.removesuffix(".proto") + ending) for ending in STUBS]


def main(arguments: list[str]) -> int:
    """Write the stubs; with `--check`, print the stubs that differ and return 1 if there are any."""
    with TemporaryDirectory() as folder:
        fresh = generate(Path(folder))
        stale = [path for path in fresh if not _equal(PROTOS / path, Path(folder, path))]
        if arguments != ["--check"]:
            for path in stale:
                shutil.copyfile(Path(folder, path), PROTOS / path)
            return 0
    for path in stale:
        sys.stderr.write(f"protos/{path} does not match the contract: run `make protos`\n")
    return 1 if stale else 0


def _equal(one: Path, other: Path) -> bool:
    return one.is_file() and filecmp.cmp(one, other, shallow=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
