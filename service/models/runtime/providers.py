"""Execution providers of onnxruntime by short name, and which of them work here.

A build of onnxruntime lists what it was compiled with. Whether the libraries, the driver and kernels for the device are
there shows only when something is computed. So each provider in question computes a small graph first: see `probe`.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from . import nvidia, openvino

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

# Graphs, or parts of them, that a provider can't run go to the next of these.
FALLBACKS = {"tensorrt": ("cuda", "cpu")}

DEFAULT = ("cuda", "cpu")
NVIDIA = {"tensorrt": nvidia.load_tensorrt, "cuda": nvidia.load_cuda}

PROBE_SECONDS = 180.0  # a cold disk holds a gigabyte of CUDA's libraries, and TensorRT builds an engine
BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-training")
"""Distributions that install the same package `onnxruntime`, and overwrite each other's files."""


class ProviderUnavailable(ValueError):
    """None of the providers asked for exists, or works here; the message names those that do."""


def onnxruntime() -> Any:
    """Import onnxruntime when it is first needed: whoever only lists models does not pay for it.

    From 1.29 on it tells its makers of each session, over HTTPS, unless this variable is there before it is imported.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


def check(names: Sequence[str]) -> None:
    """Refuse names that nobody knows, or that this onnxruntime was built without. Raises ProviderUnavailable."""
    built = available() if names else []
    for name in names:
        if name not in built:
            raise ProviderUnavailable(
                f"there is no provider {name!r} in this onnxruntime; there are: {', '.join(built)}{_hint(name)}"
            )


def _hint(name: str) -> str:
    return "; openvino comes with `pip install '.[openvino]'` in the clone" if name == "openvino" else ""


def available() -> list[str]:
    """Return the short names of the providers that there are: in onnxruntime, or as a package of their own."""
    return [name for name in PROVIDERS if name in _built() or (name == "openvino" and openvino.installed())]


def standalone(name: str) -> bool:
    """Whether a provider runs beside onnxruntime, which was built without it."""
    return name not in _built()


@cache
def choose(names: tuple[str, ...]) -> str:
    """Return the first of these providers that works here; without names, cuda if there is a device, else cpu.

    Raises:
        ProviderUnavailable: none of them works.
    """
    check(names)
    warn_of_builds()
    for name in names or DEFAULT:
        if works(name, quiet=not names):
            if not names and name == "cpu":
                log.info("images are made on the CPU: no NVIDIA GPU was found that works here")
            return name
        if names:
            log.warning("provider %s does not work here", name)
    raise ProviderUnavailable(f"none of the providers works here: {', '.join(names)}; add cpu, which always does")


def chain(name: str) -> list[str]:
    """Return onnxruntime's names of a provider and of those that take what it can't run."""
    names = dict.fromkeys((name, *FALLBACKS.get(name, ()), "cpu"))
    return [PROVIDERS[n] for n in names if n in _built()]


def _built() -> list[str]:
    built = onnxruntime().get_available_providers()
    return [name for name, long in PROVIDERS.items() if long in built]


def make_ready(name: str) -> None:
    """Bring in the libraries that a provider needs, before its first session."""
    ready = NVIDIA.get(name)
    if ready:
        ready()


def works(name: str, *, quiet: bool = False) -> bool:
    """Return whether a provider computes correctly here; log why not.

    If `quiet`, a missing device is not logged.
    """
    if name == "cpu":
        return True
    if name not in available():
        return False
    if name in NVIDIA and not nvidia.has_driver():
        level = logging.DEBUG if quiet else logging.INFO
        log.log(level, "provider %s: no NVIDIA GPU or driver was found", name)
        return False
    problem = probed(name)
    if problem:
        log.warning("provider %s is not used: %s", name, problem)
    return not problem


@cache
def probed(name: str) -> str:
    """Test a provider in its own process, once for each name.

    Return what is wrong with it; empty if nothing is.
    """
    command = (sys.executable, "-P", "-m", f"{__package__}.probe", name)
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)  # noqa: S603
    try:
        said, noise = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that hangs in a driver can't be ended
            process.communicate(timeout=5)
        return f"it computed nothing within {PROBE_SECONDS:g} s"
    if process.returncode == 0:
        return ""
    found = said.decode(errors="replace").split("\n")[-2:-1]
    return found[0] if found and process.returncode == 1 else _crash(process.returncode, noise)


def _crash(code: int, noise: bytes) -> str:
    """Say how a process ended, and the last line that it wrote."""
    how = f"with code {code}"
    with suppress(ValueError):
        how = f"with {signal.Signals(-code).name}"
    last = [line for line in noise.decode(errors="replace").splitlines() if line.strip()][-1:]
    return ": ".join([f"the process that tried it ended {how}", *last])


@cache
def warn_of_builds() -> None:
    """Log once that several distributions of onnxruntime are installed over each other."""
    there = [f"{name} {found}" for name in BUILDS if (found := _version(name))]
    if len(there) > 1:
        names = " ".join(line.split()[0] for line in there)
        log.warning(
            "%s are installed over each other; keep one: pip uninstall -y %s, then install tintype again",
            " and ".join(there),
            names,
        )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
