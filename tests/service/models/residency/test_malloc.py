"""Returning freed memory to the system."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tintype.service.models.residency import malloc


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_returned_to_the_system() -> None:
    """Memory that was freed leaves the process."""
    if malloc._libc() is None:
        pytest.skip("this C library has no malloc_trim")
    # Small blocks come from the heap, which glibc keeps; large ones are returned without `trim`.
    blocks = [bytes(8_000) for _ in range(4_000)]
    kept = blocks[-1]
    del blocks
    assert malloc.trim()
    assert len(kept) == 8_000


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_a_large_array_is_returned_at_once() -> None:
    """Glibc by default keeps a second array of the same size if small blocks were allocated after it.

    The test needs a separate process: memory that earlier tests freed could hold the array.
    """
    if not malloc.keep_large_apart():
        pytest.skip("this C library has no mallopt")
    subprocess.run([sys.executable, "-P", __file__], check=True, timeout=60)


def return_large_arrays() -> None:
    """Allocate and free large arrays; raise AssertionError if their memory stays in the process."""
    assert malloc.keep_large_apart()
    size = 16 * 2**20
    for _ in range(3):
        large, small = np.ones(size, np.uint8), [bytes(900) for _ in range(1000)]
        before = resident()
        del large
        assert before - resident() > size / 2
        assert len(small) == 1000


def resident() -> int:
    """Return the resident bytes of this process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found
    return int(found[1]) * 1024


def test_a_system_without_the_call_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without malloc_trim the functions do nothing and do not fail."""
    monkeypatch.setattr(malloc, "_libc", lambda: None)
    assert not malloc.trim()
    assert not malloc.keep_large_apart.__wrapped__()


if __name__ == "__main__":
    return_large_arrays()
