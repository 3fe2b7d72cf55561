"""NVIDIA's driver and libraries: whether they are there, and brought to where onnxruntime finds them.

The packages that the extras `cuda` and `tensorrt` install put their libraries below site-packages, where no loader
looks. Once they are in the process onnxruntime's own libraries find them by name.
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
TENSORRT = "tensorrt_libs"  # the package with TensorRT's libraries: being imported it loads them


def has_driver() -> bool:
    """Whether NVIDIA's driver is there: asking costs nothing, where a session that fails costs 50 ms and noise."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


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
