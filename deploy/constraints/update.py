"""Resolve the packages of a release, and write them with the hashes of their files: `make constraints`.

Each file lists every package that one kind of installation needs: `cpu.txt` and `cuda.txt` those of the servers,
`build.txt` those that build the wheel. They are resolved for the Python that runs this, the oldest supported one, whose
packages newer ones also install. `cpu.txt` has onnxruntime's plain build, which is smaller than the CUDA build and has
the same version.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
GPU = ROOT / "constraints-gpu.txt"
PLAIN, CUDA = "onnxruntime", "onnxruntime-gpu"
EXTRAS = {"cpu": ("s3", "otel"), "cuda": ("cuda", "s3", "otel")}
HEADER = """# All packages of {purpose}, with the hashes of their files.
# `make constraints` writes this file, and takes newer versions where pyproject.toml allows them.
"""
PURPOSES = {
    "cpu": "an installation without a GPU",
    "cuda": "an installation for NVIDIA's GPUs",
    "build": "the environment that builds the wheel",
}
PIN = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>[^\s;]+)", re.MULTILINE)


def requirements(kind: str) -> list[str]:
    """Return what an installation asks for, from pyproject.toml."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    if kind == "build":
        return list(content["build-system"]["requires"])
    groups = content["project"]["optional-dependencies"]
    wanted = [*content["project"]["dependencies"], *(text for extra in EXTRAS[kind] for text in groups.get(extra, ()))]
    if kind == "cpu":
        wanted = [text for text in wanted if not text.startswith(PLAIN)]
        wanted.append(f"{PLAIN}=={versions(GPU.read_text('utf-8'))[CUDA]}")
    return wanted


def versions(text: str) -> dict[str, str]:
    """Return the version of each package that a file of requirements pins."""
    return {match["name"]: match["version"] for match in PIN.finditer(text)}


def limits(kind: str) -> str:
    """Return versions that a file shares with others: NVIDIA's libraries, and the packages of `cpu.txt`."""
    if kind != "cuda":
        return ""
    shared = versions((FOLDER / "cpu.txt").read_text("utf-8"))
    del shared[PLAIN]
    return GPU.read_text("utf-8") + "".join(f"{name}=={version}\n" for name, version in shared.items())


def resolve(kind: str) -> str:
    """Return the content of a file of constraints. Raises CalledProcessError if there is no solution."""
    with TemporaryDirectory() as folder:
        source, constraint, target = (Path(folder) / name for name in ("wanted.in", "limits.txt", "out.txt"))
        source.write_text("\n".join(requirements(kind)) + "\n", "utf-8")
        constraint.write_text(limits(kind), "utf-8")
        command = [sys.executable, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--strip-extras"]
        # Neither the address of an index nor the command becomes part of the file.
        command += ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-trusted-host"]
        command += ["--no-emit-find-links", "--allow-unsafe", "--constraint", constraint, "--output-file", target]
        subprocess.run([*command, source], check=True)  # noqa: S603 - a constant, and paths of its own
        return HEADER.format(purpose=PURPOSES[kind]) + target.read_text("utf-8")


if __name__ == "__main__":
    for kind in sys.argv[1:] or PURPOSES:
        (FOLDER / f"{kind}.txt").write_text(resolve(kind), "utf-8")
