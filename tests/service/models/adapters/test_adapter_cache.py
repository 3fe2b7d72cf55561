"""Adapters are read once, and threads wait only for the adapter that they want."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tintype.service.models.adapters.adapter_cache import AdapterCache
from tintype.service.models.adapters.layer_sizes import Adapter


def test_threads_read_an_adapter_once() -> None:
    """While one thread reads, another that wants the same waits, and one that wants another adapter does not."""
    reading, finish, read = threading.Event(), threading.Event(), list[str]()

    def slow(name: str) -> Adapter:
        read.append(name)
        if name == "slow":
            reading.set()
            assert finish.wait(30)
        return Adapter()

    cache = AdapterCache(slow, 4)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "slow")
        assert reading.wait(30)
        second = pool.submit(cache.get, "slow")
        cache.get("other")
        finish.set()
        assert first.result(30) is second.result(30)
    assert read == ["slow", "other"]


def test_the_last_ones_and_held_ones_are_kept() -> None:
    """A use makes an adapter the latest; a failed one is read again."""
    read = list[str]()

    def note(name: str) -> Adapter:
        read.append(name)
        if read.count("bad") == 1 and name == "bad":
            raise OSError("busy")
        return Adapter()

    cache = AdapterCache(note, 2)
    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get(name)
    assert read == ["a", "b", "c", "b"]
    held = cache.get("a")
    for name in ("x", "y", "a"):
        cache.get(name)
    assert read == ["a", "b", "c", "b", "x", "y"]
    assert cache.get("a") is held
    with pytest.raises(OSError, match="busy"):
        cache.get("bad")
    cache.get("bad")
