"""Settings of a server's process: open files, and return of memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache
from typing import Any

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 256 * 1024  # bytes


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one.

    The soft limit is 1024 in most shells and for systemd's services, for the sake of programs that call `select`.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS has a lower bound of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files() -> int:
    """Return how many files this process may open.

    It is 0 where there is no limit, or none is known.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else soft


@cache
def keep_large_apart() -> bool:
    """Return large blocks of memory to the system when they are freed.

    The result is True where that can be configured. glibc begins so, but raises its bound to the size of what was
    freed, up to 32 MiB, and then keeps blocks of uploads and results in fragments (`man 3 mallopt`).
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    return hasattr(library, "mallopt") and bool(library.mallopt(M_MMAP_THRESHOLD, LARGE))
