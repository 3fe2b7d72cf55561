"""Exclusive access to the device while a CUDA graph is captured.

If another thread calls CUDA during a capture (microsoft/onnxruntime#18806), to load or free a model, both the capture
and that call fail. Such calls wait for a capture to end, which takes as long as three calls of the graph. If one of
them is already running, nothing is captured: the call runs without CUDA graphs, and a later call is captured.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class DeviceAccess:
    """Shared access for loading and freeing models, exclusive access for captures."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._sharing = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Allow device calls other than a model's step inside the block; wait for a capture to end."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Yield True and keep shared access out of the block; yield False if the device is in shared use."""
        with self._lock:
            exclusive = not self._sharing
            if exclusive:
                yield True
        if not exclusive:
            yield False

    def _count(self, change: int) -> None:
        with self._lock:
            self._sharing += change


DEVICE_ACCESS = DeviceAccess()
"""The access of this process."""
