"""Stopping a model's calls from another thread.

Between two nodes onnxruntime reads the flag `terminate` in the options of the run. The flag cannot be reset, but the
session stays usable with other options: all calls of a model share options objects, which are replaced after a stop.
On a device this ends the queueing of nodes; those that are queued are computed. A replay of a captured graph has no
nodes, and is not stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import Cancelled
from .providers import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping


class StopFlag:
    """The stop flag that all calls of one model share. Thread-safe."""

    def __init__(self) -> None:
        self._stopped = False
        self._options: dict[tuple[tuple[str, str], ...], Any] = {}

    @property
    def options(self) -> Any:
        """The `RunOptions` to pass with each run."""
        return self.with_entries({})

    def with_entries(self, entries: Mapping[str, str]) -> Any:
        """Return the `RunOptions` for runs with these entries in their configuration."""
        key, made = tuple(entries.items()), self._options
        if key not in made:
            made[key] = onnxruntime().RunOptions()
            for name, value in entries.items():
                made[key].add_run_config_entry(name, value)
        # `stop` sets `_stopped` before it reads `_options`, so one of the two threads sees the other's change.
        if self._stopped:
            made[key].terminate = True
        return made[key]

    def stop(self) -> None:
        """Stop the running call between two nodes; later calls fail at once, until `resume`."""
        self._stopped = True
        for options in tuple(self._options.values()):
            options.terminate = True

    def resume(self) -> None:
        """Allow calls again."""
        if self._stopped:
            self._options, self._stopped = {}, False

    @property
    def is_stopped(self) -> bool:
        """Whether calls are stopped."""
        return self._stopped

    def check(self) -> None:
        """Raise Cancelled if calls are stopped."""
        if self.is_stopped:
            raise Cancelled("the model's call was stopped: no request waits for it")


class CallerFlag(StopFlag):
    """The flag of a graph that several models share: that of the model which runs it, `flag`."""

    def __init__(self) -> None:
        super().__init__()
        self.flag = StopFlag()

    def with_entries(self, entries: Mapping[str, str]) -> Any:
        """Return the `RunOptions` of the model that runs the graph."""
        return self.flag.with_entries(entries)

    @property
    def is_stopped(self) -> bool:
        """Whether the calls of the model that runs the graph are stopped."""
        return self.flag.is_stopped
