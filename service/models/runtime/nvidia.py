"""NVIDIA's driver and libraries: presence, versions, and loading.

The libraries are loaded so that onnxruntime finds them. The packages that the extras `cuda` and `tensorrt` install put
their libraries below site-packages, where no loader looks. Once they are in the process onnxruntime's own libraries
find them by name.
"""

from __future__ import annotations

import ctypes
import logging
import sys
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec

log = logging.getLogger(__name__)

CUDA = "nvidia"  # what NVIDIA's packages are below, in a folder for each
DRIVER = "nvcuda.dll", "libcuda.so.1"
INFER = "nvinfer_10.dll", "libnvinfer.so.10"
_CAPABILITY = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
TENSORRT = "tensorrt_libs"  # the package with TensorRT's libraries: being imported it loads them


def has_driver() -> bool:
    """Whether NVIDIA's driver is there: asking costs nothing, where a session that fails costs 50 ms and noise."""
    return _library(*DRIVER) is not None


@cache
def device() -> str:
    """Return name and compute capability of the GPU in use.

    An example is `NVIDIA H200 9.0`. Empty without a GPU.
    """
    driver = _library(*DRIVER)
    number, name, parts = ctypes.c_int(), ctypes.create_string_buffer(256), (ctypes.c_int(), ctypes.c_int())
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(number), 0):
        return ""
    driver.cuDeviceGetName(name, len(name), number)
    for part, attribute in zip(parts, _CAPABILITY, strict=True):
        driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, number)
    return f"{name.value.decode(errors='replace')} {parts[0].value}.{parts[1].value}"


@cache
def tensorrt_version() -> str:
    """Return the TensorRT version that onnxruntime finds.

    It is written as TensorRT does: 101401 is 10.14.1.
    """
    load_tensorrt()
    library = _library(*INFER)
    return str(library.getInferLibVersion()) if library is not None else ""


def _library(windows: str, others: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(windows if sys.platform == "win32" else others)
    except OSError:
        return None


@cache
def load_cuda() -> None:
    """Bring in CUDA and cuDNN where packages of theirs are installed, once; without, the system's are found or not."""
    if find_spec(CUDA) is None:
        return
    with redirect_stdout(sys.stderr):  # onnxruntime prints what it does not find
        import_module("onnxruntime").preload_dlls()


@cache
def load_tensorrt() -> None:
    """Bring in TensorRT where its package is installed, once; without it, the system's is found or not."""
    load_cuda()
    if find_spec(TENSORRT) is None:
        return
    try:
        import_module(TENSORRT)
    except Exception as error:  # noqa: BLE001 - whatever it is, a session will show what it is worth
        log.warning("the package %s can't be imported: %s", TENSORRT, error)
