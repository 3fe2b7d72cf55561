"""Settings of the server's process: the limit of open files, and the return of freed memory."""

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

    The soft limit is 1024 in most shells and in systemd's services, because programs that call `select` need that.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # macOS has another, lower limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files() -> int:
    """Return how many files this process may open; 0 if there is no limit, or it is unknown."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft == resource.RLIM_INFINITY else soft


@cache
def keep_large_apart() -> bool:
    """Make malloc return large freed blocks to the system; return whether that could be configured.

    glibc starts this way, but then raises its threshold to the size of freed blocks, up to 32 MiB, and keeps blocks of
    uploads and results in fragments (`man 3 mallopt`).
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    return hasattr(library, "mallopt") and bool(library.mallopt(M_MMAP_THRESHOLD, LARGE))
