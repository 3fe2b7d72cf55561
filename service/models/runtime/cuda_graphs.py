"""CUDA graphs are captured while nobody else calls the device.

What another thread asks of CUDA during a capture ends it with an error (onnxruntime #18806), and fails itself: a model
that loads, or that goes. They wait while a graph is captured, which takes three calls' time; where they are at work
already, the call is run as it would be without graphs and captured another time.
"""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class DeviceAccess:
    """Who may call the device."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._others = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Call the device inside the block for anything but the step of a model; waits for a capture to end."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Keep others from the device inside the block; False if one is at work, and then it is not kept."""
        with self._lock:
            alone = not self._others
            if alone:
                yield True
        if not alone:
            yield False

    def _count(self, change: int) -> None:
        with self._lock:
            self._others += change


DEVICE_ACCESS = DeviceAccess()
"""Of this process."""
