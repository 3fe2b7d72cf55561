"""Section 1: the machine, versions, and which providers compute correctly, on which adapters."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tintype.service.models.runtime import nvidia
from tintype.service.models.runtime.providers import available, onnxruntime, run_probe

from .context import nvidia_smi

if TYPE_CHECKING:
    from .context import Context

PACKAGES = ("tintype", "onnxruntime", "onnxruntime-gpu", "onnxruntime-ep-webgpu", "numpy", "torch", "diffusers")
LIBRARIES = ("nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cuda-runtime", "tensorrt-cu13")
DEVICE = "name,driver_version,memory.total,memory.free,compute_cap"


def run(context: Context) -> None:
    """Write machine, versions and the test of each provider."""
    context.add("machine", note=f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.platform()}")
    gpu = nvidia_smi(DEVICE)
    names = ("", "driver ", "MiB: ", "free MiB: ", "compute capability ")
    text = ", ".join(f"{name}{value}" for name, value in zip(names, gpu, strict=True)) if gpu else "no NVIDIA GPU"
    context.add("GPU", note=text)
    found = {"Python": platform.python_version()} | {name: _version(name) for name in (*PACKAGES, *LIBRARIES)}
    context.add("versions", note=", ".join(f"{name} {number}" for name, number in found.items() if number))
    # The chosen provider first: the others' tests may take minutes. TensorRT builds an engine, in its own section.
    others = (name for name in available() if name not in (context.provider, "tensorrt"))
    for provider in (*({context.provider} & {*available()}), *others):
        if provider == "cuda" and not nvidia.has_driver():
            context.add("provider", provider, works=False, problem="found no NVIDIA GPU or driver")
        elif context.left() > 0:
            probe = run_probe(provider)
            note = f"computes correctly{' on ' if probe.adapters else ''}{' or '.join(probe.adapters)}"
            result = {"problem": probe.problem} if probe.problem else {"note": note}
            context.add("provider", provider, works=not probe.problem, **result)
    if context.provider not in available():
        context.add(
            "provider", context.provider, works=False, problem=f"not in onnxruntime {onnxruntime().__version__}"
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
