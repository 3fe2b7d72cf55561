"""Execution providers of onnxruntime by short name, and which of them work here.

onnxruntime lists the providers that it was built with. Whether libraries, driver and kernels for the device are present
shows only in a computation, so each candidate computes a small graph first (see `probe`).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

from . import nvidia, openvino
from .plugins import table as plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    **{name: plugin.long_name for name, plugin in plugins.PLUGINS.items()},
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "cpu": "CPUExecutionProvider",
}

# Providers that run the nodes of a graph that the first one can't, in order.
FALLBACKS = {"tensorrt": ("cuda", "cpu")}

# Functions that load the libraries of NVIDIA's providers.
NVIDIA = {"tensorrt": nvidia.load_tensorrt, "cuda": nvidia.load_cuda}

PROBE_SECONDS = 180.0  # reading a gigabyte of CUDA's libraries from a cold disk, and building an engine of TensorRT
BUILDS = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-training")
"""Distributions that install the same package `onnxruntime`, overwriting each other's files."""


class Probe(NamedTuple):
    """The result of a provider's test: the problem, empty if it computes correctly, and a plugin's adapters.

    `software` says that all adapters are the processor. `wrong` are operators that it computes wrongly, whose nodes
    run on the CPU. `channels_last` says that CUDA computed `rewriting.sample` right.
    """

    problem: str
    adapters: tuple[str, ...] = ()
    software: bool = False
    wrong: tuple[str, ...] = ()
    channels_last: bool = False


class ProviderUnavailable(ValueError):
    """None of the requested providers exists or works here; the message names those that do."""


def onnxruntime() -> Any:
    """Import onnxruntime at its first use: listing models does not need it, and the import takes time.

    From 1.29 on it reports each session to its developers over HTTPS, unless this variable is set before the import.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return import_module("onnxruntime")


def check_available(names: Sequence[str]) -> None:
    """Raise ProviderUnavailable if a name is unknown, or this onnxruntime was built without it."""
    known = available() if names else []
    for name in names:
        if name not in known:
            raise ProviderUnavailable(
                f"provider {name!r} is not in this onnxruntime; available: {', '.join(known)}{_hint(name)}"
            )


def _hint(name: str) -> str:
    plugin = plugins.PLUGINS.get(name)
    extra = name if name == "openvino" else plugin.extra if plugin else ""
    return f"; install it with `pip install '.[{extra}]'` in the clone" if extra else ""


def available() -> list[str]:
    """Return the short names of the available providers: those in onnxruntime, its plugins, OpenVINO's own package."""
    found = {*_built_in(), *plugins.installed(), *(("openvino",) if openvino.is_installed() else ())}
    others = sorted(plugins.installed().keys() - PROVIDERS.keys())
    return [name for name in (*(each for each in PROVIDERS if each != "cpu"), *others, "cpu") if name in found]


def is_standalone(name: str) -> bool:
    """Return whether a provider runs in its own package, without onnxruntime."""
    return name not in _built_in() and name not in plugins.installed()


def automatic() -> tuple[str, ...]:
    """Return the providers of which the first that works is used by default."""
    return ("cuda", *plugins.installed(), "cpu")


@cache
def choose(names: tuple[str, ...]) -> str:
    """Return the first of these providers that works here; by default one with a GPU, otherwise cpu.

    By default a plugin is used only with a GPU. A plugin that is named may compute on a software adapter.

    Raises:
        ProviderUnavailable: none of them works.
    """
    check_available(names)
    warn_of_conflicting_builds()
    for name in names or automatic():
        if works(name, quiet=not names):
            if not names and name == "cpu":
                log.info("using the CPU: found no GPU that works here")
            return name
        if names:
            log.warning("provider %s does not work here", name)
    raise ProviderUnavailable(f"none of the providers works here: {', '.join(names)}; add cpu, which always works")


def with_fallbacks(name: str) -> list[str]:
    """Return onnxruntime's names of a provider and of its fallbacks."""
    names = dict.fromkeys((name, *FALLBACKS.get(name, ()), "cpu"))
    return [PROVIDERS[n] for n in names if n in _built_in()]


def _built_in() -> list[str]:
    """Return the short names of the providers that onnxruntime was built with."""
    long_names = onnxruntime().get_available_providers()  # registered plugins among them
    own = plugins.installed()
    return [name for name, long_name in PROVIDERS.items() if long_name in long_names and name not in own]


def load_libraries(name: str) -> None:
    """Load the libraries that a provider needs. Called before its first session."""
    load = NVIDIA.get(name)
    if load:
        load()


def works(name: str, *, quiet: bool = False) -> bool:
    """Return whether a provider computes correctly here; log why not, except a missing device if `quiet`."""
    if name == "cpu":
        return True
    if name not in available():
        return False
    if name in NVIDIA and not nvidia.has_driver():
        level = logging.DEBUG if quiet else logging.INFO
        log.log(level, "provider %s: found no NVIDIA GPU or driver", name)
        return False
    if name in plugins.installed():
        return _plugin_works(name, automatically=quiet)
    problem = run_probe(name).problem
    if problem:
        log.warning("provider %s is not used: %s", name, problem)
    return not problem


def _plugin_works(name: str, *, automatically: bool) -> bool:
    if automatically and not plugins.has_gpu():
        log.debug("provider %s: found no GPU", name)
        return False
    problem, adapters, software, wrong, _ = run_probe(name)
    if software and automatically:
        log.info("provider %s is not used, because %s is software; --provider %s uses it", name, adapters[0], name)
        return False
    if problem:
        log.warning("provider %s is not used: %s", name, problem)
        return False
    log.info("provider %s computes on %s", name, " or ".join(adapters))
    if wrong:
        log.warning("provider %s computes %s wrongly here: these nodes run on the CPU", name, " and ".join(wrong))
    if software:
        log.warning("provider %s computes on the processor, usually more slowly than the provider cpu", name)
    return True


@cache
def run_probe(name: str) -> Probe:
    """Test a provider in a separate process, once per name."""
    command = (sys.executable, "-P", "-m", f"{__package__}.probe", name)
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe)  # noqa: S603
    try:
        output, errors = process.communicate(timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # a process that hangs in a driver can't be killed
            process.communicate(timeout=5)
        return Probe(f"it computed nothing within {PROBE_SECONDS:g} s")
    last_line = output.decode(errors="replace").split("\n")[-2:-1]
    if not last_line or process.returncode not in (0, 1):
        return Probe(_crash(process.returncode, errors))
    problem, adapters, software, wrong, channels_last = json.loads(last_line[0])
    return Probe(problem, tuple(adapters), software, tuple(wrong), channels_last)


def _crash(code: int, errors: bytes) -> str:
    """Describe how the process ended, with the last line that it wrote."""
    how = f"with code {code}"
    with suppress(ValueError):
        how = f"with {signal.Signals(-code).name}"
    last = [line for line in errors.decode(errors="replace").splitlines() if line.strip()][-1:]
    return ": ".join([f"its test process ended {how}", *last])


@cache
def warn_of_conflicting_builds() -> None:
    """Log, once, that several distributions of onnxruntime are installed over each other."""
    installed = [f"{name} {number}" for name in BUILDS if (number := _version(name))]
    if len(installed) > 1:
        names = " ".join(line.split()[0] for line in installed)
        log.warning(
            "%s are installed over each other; run `pip uninstall -y %s`, then install tintype again",
            " and ".join(installed),
            names,
        )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
