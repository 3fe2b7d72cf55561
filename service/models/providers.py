"""Execution providers of onnxruntime by short name, and which of them work here.

A build of onnxruntime lists what it was compiled with; whether the libraries and the device are there shows only when
a session is made. So each provider in question runs a graph of one node first.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from importlib import import_module
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

_ERROR, _FATAL = 3, 4  # onnxruntime's levels of logging

# A model of the one node y = Identity(x), x float [1], opset 13, as onnx.helper serializes it.
_PROBE = bytes.fromhex(
    "08083a3b0a100a017812017922084964656e74697479120570726f62655a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)


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
    return "; openvino comes with `pip install tintype[openvino]`" if name == "openvino" else ""


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
    for name in names or DEFAULT:
        if works(name, quiet=not names):
            if not names and name == "cpu":
                log.info("pictures are made on the CPU: no NVIDIA GPU was found that works here")
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
    """Whether a provider runs a graph of one node here; onnxruntime's log says why not, unless quiet."""
    if name == "cpu":
        return True
    if name not in available():
        return False
    if standalone(name):
        return "CPU" in openvino.core().available_devices
    if name in NVIDIA and not nvidia.has_driver():
        log.log(
            logging.DEBUG if quiet else logging.INFO, "provider %s: there is no NVIDIA GPU here, or no driver", name
        )
        return False
    make_ready(name)
    ort = onnxruntime()
    ort.set_default_logger_severity(_FATAL if quiet else _ERROR)
    try:
        session = ort.InferenceSession(_PROBE, providers=[PROVIDERS[name]], enable_fallback=0)
    except Exception as error:  # noqa: BLE001 - whatever it is, it does not work
        log.info("provider %s: %s", name, error)
        return False
    finally:
        ort.set_default_logger_severity(_ERROR)
    return bool(session.get_providers()[0] == PROVIDERS[name])
