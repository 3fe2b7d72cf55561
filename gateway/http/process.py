"""Settings of the server's process: the limit of open files, and the return of freed memory."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import cache
from typing import Any

M_MMAP_THRESHOLD = -3  # malloc.h
LARGE_BLOCK = 256 * 1024  # bytes


def raise_open_file_limit() -> None:
    """Raise the soft limit of open files to the hard one.

    The soft limit is 1024 in most shells and in systemd's services, because programs that call `select` need that.
    """
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit != hard_limit:
        with suppress(OSError, ValueError):  # macOS has another, lower limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def open_file_limit() -> int:
    """Return how many files this process may open; 0 if there is no limit, or it is unknown."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return 0
    soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if soft_limit == resource.RLIM_INFINITY else soft_limit


@cache
def return_large_blocks() -> bool:
    """Make malloc return large freed blocks to the system; return whether that could be configured.

    By default glibc raises its threshold to the size of freed blocks, up to 32 MiB (`man 3 mallopt`). Blocks of uploads
    and results would then stay in a fragmented heap.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    return hasattr(library, "mallopt") and bool(library.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK))
