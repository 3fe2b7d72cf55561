"""NVIDIA's driver and libraries: detection, versions, and loading; memory on the GPU.

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
SAME_AS_REQUESTED = 1  # an arena grows by the size requested, not by powers of two
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


def free_memory() -> int:
    """Return the free bytes of the GPU in use, 0 if they are unknown."""
    return memory()[0]


def memory() -> tuple[int, int]:
    """Return the free and all bytes of the GPU in use; zeros if they are unknown."""
    driver = _library(*DRIVER)
    number, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(number), 0):
        return 0, 0
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), number):
        return 0, 0
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return 0, 0
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
        return (0, 0) if failed else (free.value, total.value)
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(number)


@cache
def share_arena() -> None:
    """Create the GPU arena that all sessions without a limit and without CUDA graphs share, once.

    Without it every text encoder, denoiser and VAE keeps the memory of its own peak after a call.
    """
    ort = import_module("onnxruntime")
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    device = ort.OrtMemoryInfo("Cuda", kind, 0, ort.OrtMemType.DEFAULT)
    config = ort.OrtArenaCfg({"arena_extend_strategy": SAME_AS_REQUESTED})
    try:
        ort.create_and_register_allocator_v2("CUDAExecutionProvider", device, {}, config)
    except Exception as error:  # noqa: BLE001 - each session then has its own arena
        log.warning("sessions share no memory on the GPU: %s", error)


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
