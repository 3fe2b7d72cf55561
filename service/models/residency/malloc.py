"""Return memory to the system that loading a model or generating an image needed only temporarily."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

from ..runtime.session_options import shrink_arena


@cache
def _libc() -> Any:
    """Return the C library if it is glibc, otherwise None."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


def trim() -> bool:
    """Return freed memory to the system; the result is True if any was returned.

    While onnxruntime loads a graph, it parses and rewrites it. glibc keeps the memory that this frees, about a tenth of
    the process with the built-in model (`man 3 malloc_trim`). Other C libraries have no such call and need none.
    """
    library = _libc()
    return bool(library and library.malloc_trim(0))


def return_memory() -> None:
    """Return the memory that finished calls have left to the system. Raises onnxruntime's errors."""
    shrink_arena()
    trim()


M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 256 * 1024  # bytes


@cache
def keep_large_apart() -> bool:
    """Return every large array to the system when it is freed, from now on; True if the C library supports that.

    This is glibc's initial behaviour, but it raises its threshold to the size of freed arrays, up to 32 MiB, and then
    keeps freed arrays of images in fragments: 5 % of the process after a thousand requests for the built-in model
    (`man 3 mallopt`).
    """
    library = _libc()
    return bool(library and library.mallopt(M_MMAP_THRESHOLD, LARGE))
