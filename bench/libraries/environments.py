"""The virtual environment of each library, installed from a file of exact versions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements")
# Environment -> the folder that `make` creates for tests, which serves if it exists.
EXISTING = {"optimum": ".venv-peers", "torch": ".venv-export"}
# Side -> its environment; None: this program's own.
OF_SIDE = {
    "tintype": None,
    "tintype, mapped": None,
    "tintype, kept graphs": None,
    "optimum": "optimum",
    "diffusers": "torch",
    "diffusers, compiled": "torch",
    "OpenVINO GenAI": "openvino",
    "stable-diffusion.cpp": "cpp",
}
# Environment -> the packages whose versions are recorded.
PACKAGES = {
    None: ("tintype", "onnxruntime-gpu", "onnxruntime", "numpy"),
    "optimum": ("optimum", "optimum-onnx", "onnxruntime-gpu", "onnxruntime", "diffusers", "transformers", "torch"),
    "torch": ("diffusers", "transformers", "torch"),
    "openvino": ("openvino", "openvino-genai", "optimum-intel"),
    "cpp": ("stable-diffusion-cpp-python",),
    "litellm": ("litellm", "uvicorn", "fastapi"),
}
VERSIONS = """
import importlib.metadata, json, sys
found = {name: "".join(d.version for d in importlib.metadata.distributions(name=name)) for name in sys.argv[1:]}
print(json.dumps({name: version for name, version in found.items() if version}))
"""


class Environments:
    """Virtual environments in one folder, created when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def python(self, name: str | None) -> str:
        """Return the interpreter of an environment, and install it if it is not there."""
        if name is None:
            return sys.executable
        existing = ROOT / EXISTING.get(name, ".none") / "bin/python"
        if existing.exists():
            return str(existing)
        python = self._folder / name / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)  # noqa: S603 - our own
            self._install(python, REQUIREMENTS / f"{name}.txt")
        return str(python)

    def versions(self, name: str | None) -> dict[str, str]:
        """Return the versions of an environment's main packages."""
        command = [self.python(name), "-c", VERSIONS, *PACKAGES[name]]
        found: dict[str, str] = json.loads(subprocess.check_output(command))  # noqa: S603 - our own
        return found

    @staticmethod
    def _install(python: Path, requirements: Path) -> None:
        command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
        subprocess.run(command, check=True)  # noqa: S603 - our own
