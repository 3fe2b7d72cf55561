"""Give back to the system what loading a model took for a moment."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _libc() -> Any:
    """Return the C library, where it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None


def trim() -> bool:
    """Return freed memory to the system; True if any went.

    onnxruntime parses and rewrites a graph as it loads; glibc keeps what that frees, about a tenth of what the process
    holds with the built-in model (`man 3 malloc_trim`). Other C libraries have no such call and need none.
    """
    library = _libc()
    return bool(library and library.malloc_trim(0))
