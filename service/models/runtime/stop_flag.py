"""Stopping what a model computes, from another thread, when nobody wants it any more.

onnxruntime looks between two nodes at a flag of the options that a run was given. Options once stopped stay so, and
the session is as good as before: so all calls of a model are given the same, until they are stopped and replaced.
On CUDA, where a call has handed its nodes over long before they are done, only the next call is not begun.
"""

from __future__ import annotations

from typing import Any

from ...errors import Cancelled
from .providers import onnxruntime


class StopFlag:
    """What the calls of one model have in common. `stop` may be called from any thread."""

    def __init__(self) -> None:
        self._stopped = False
        self._options: Any = None

    @property
    def options(self) -> Any:
        """What onnxruntime is given with a run, for it to be stopped by."""
        if self._options is None:
            self._options = onnxruntime().RunOptions()
        if self._stopped:  # looked at last, as `stop` sets it first: one of the two sees what the other has done
            self._options.terminate = True
        return self._options

    def stop(self) -> None:
        """End the call under way between two of its nodes; others fail at once, until `resume`."""
        self._stopped = True
        if self._options is not None:
            self._options.terminate = True

    def resume(self) -> None:
        """Let calls run again."""
        if self._stopped:
            self._options, self._stopped = None, False

    def check(self) -> None:
        """Raise Cancelled if calls were stopped."""
        if self._stopped:
            raise Cancelled("the model's call was stopped: nobody wants it any more")
