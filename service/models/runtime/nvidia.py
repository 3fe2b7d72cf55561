"""NVIDIA's driver and libraries: detection, versions, and loading.

The packages of the extras `cuda` and `tensorrt` install their libraries below site-packages, where the system's loader
does not look. Once they are loaded into the process, onnxruntime's own libraries find them by name.
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

CUDA = "nvidia"  # the parent package of NVIDIA's packages
DRIVER = "nvcuda.dll", "libcuda.so.1"
INFER = "nvinfer_10.dll", "libnvinfer.so.10"
_CAPABILITY = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
TENSORRT = "tensorrt_libs"  # the package with TensorRT's libraries, which its import loads


def has_driver() -> bool:
    """Return whether NVIDIA's driver is installed; cheap, whereas a failing session costs 50 ms and log lines."""
    return _library(*DRIVER) is not None


@cache
def describe_gpu() -> str:
    """Return name and compute capability of the GPU in use, for example `NVIDIA H200 9.0`; empty without a GPU."""
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
    """Return the version of TensorRT that onnxruntime finds, as TensorRT writes it: 101401 is 10.14.1."""
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
    """Load CUDA and cuDNN from their packages, once; without these packages onnxruntime looks for the system's."""
    if find_spec(CUDA) is None:
        return
    with redirect_stdout(sys.stderr):  # onnxruntime prints which libraries it does not find
        import_module("onnxruntime").preload_dlls()


@cache
def load_tensorrt() -> None:
    """Load TensorRT from its package, once; without the package onnxruntime looks for the system's."""
    load_cuda()
    if find_spec(TENSORRT) is None:
        return
    try:
        import_module(TENSORRT)
    except Exception as error:  # noqa: BLE001 - a session shows whether TensorRT works
        log.warning("the package %s can't be imported: %s", TENSORRT, error)
