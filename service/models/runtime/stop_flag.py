"""Stopping a model's calls from another thread.

Between two nodes onnxruntime reads the flag `terminate` in the options of the run. The flag cannot be reset, but the
session stays usable with other options: all calls of a model share one options object, which is replaced after a stop.
On CUDA a running call is not stopped, since its kernels were queued before; the next call does not start.
"""

from __future__ import annotations

from typing import Any

from ...errors import Cancelled
from .providers import onnxruntime


class StopFlag:
    """The stop flag that all calls of one model share. Thread-safe."""

    def __init__(self) -> None:
        self._stopped = False
        self._options: Any = None

    @property
    def options(self) -> Any:
        """The `RunOptions` to pass with each run."""
        if self._options is None:
            self._options = onnxruntime().RunOptions()
        # `stop` sets `_stopped` before it reads `_options`, so one of the two threads sees the other's change.
        if self._stopped:
            self._options.terminate = True
        return self._options

    def stop(self) -> None:
        """Stop the running call between two nodes; later calls fail at once, until `resume`."""
        self._stopped = True
        if self._options is not None:
            self._options.terminate = True

    def resume(self) -> None:
        """Allow calls again."""
        if self._stopped:
            self._options, self._stopped = None, False

    def check(self) -> None:
        """Raise Cancelled if calls are stopped."""
        if self._stopped:
            raise Cancelled("the model's call was stopped: no request waits for it")


class CallerFlag(StopFlag):
    """The flag of a graph that several models share: that of the model which runs it, `flag`."""

    def __init__(self) -> None:
        super().__init__()
        self.flag = StopFlag()

    @property
    def options(self) -> Any:
        """The `RunOptions` of the model that runs the graph."""
        return self.flag.options
