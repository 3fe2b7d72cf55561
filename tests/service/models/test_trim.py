"""Giving memory back."""

import sys

import pytest

from tintype.service.models import trim


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_goes_back_to_the_system() -> None:
    """What was freed leaves the process."""
    if trim._libc() is None:
        pytest.skip("this C library has no malloc_trim")
    # Small blocks come from the heap, which glibc keeps; large ones would go back by themselves.
    blocks = [bytes(8_000) for _ in range(4_000)]
    kept = blocks[-1]
    del blocks
    assert trim.trim()
    assert len(kept) == 8_000


def test_a_system_without_the_call_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no malloc_trim nothing happens, and nothing fails."""
    monkeypatch.setattr(trim, "_libc", lambda: None)
    assert not trim.trim()
