"""Denoisers on a plugin that captures calls at one frequent shape.

WebGPU's plugin captures a graph only without free axes, because onnxruntime computes shapes on the CPU otherwise. Each
such session holds all weights, so only one session is kept: after HOT calls of one shape in a row the graph is loaded
again with this shape's axes, and its calls are captured. A call of another shape loads it with free axes again, and
doubles the number of calls required from then on.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from ..cuda_graphs import DEVICE_ACCESS
from ..graph import shape_of
from ..ort import OrtGraph
from ..provider_options import GraphRole, fixed_axes
from ..session_options import NO_ENGINE, EngineOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...graph_source import GraphSource
    from ..graph import Values
    from ..provider_options import ProviderOptions
    from ..stop_flag import StopFlag

    Shapes = dict[str, tuple[int, ...]]

log = logging.getLogger(__name__)

HOT = 32  # loading takes as long as dozens of calls


class CapturedGraph:
    """A denoiser on a plugin. One thread at a time may run it. Raises onnxruntime's errors."""

    def __init__(
        self, source: GraphSource, provider: str, threads: int, *, options: ProviderOptions, stop_flag: StopFlag
    ) -> None:
        self._name = source.component
        self._open = partial(
            OrtGraph, source, provider, threads, options=options, role=GraphRole.DENOISER, stop_flag=stop_flag
        )
        self._graph: OrtGraph | None = self._open()
        self.inputs, self.optional, self.outputs = self._graph.inputs, self._graph.optional, self._graph.outputs
        self.provider, self.device = self._graph.provider, self._graph.device
        self._fixed: Shapes | None = None
        self._latest: Shapes = {}
        self._repeats, self._hot = 0, HOT

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        return self._graph_for(feeds).run(outputs, feeds)

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` of arrays and values on the device: `DeviceBuffers.run_on_device`."""
        return self._graph_for(feeds).run_on_device(outputs, feeds)

    def _graph_for(self, feeds: Mapping[str, Any]) -> OrtGraph:
        """Return the graph to run with feeds whose shapes it counts."""
        shapes = {name: shape_of(feed) for name, feed in feeds.items()}
        self._repeats = self._repeats + 1 if shapes == self._latest else 1
        self._latest = shapes
        if self._fixed not in (None, shapes):
            self._reopen(None)
            self._hot *= 2
        elif self._fixed is None and self._repeats > self._hot:
            log.info("%s: loading it again for %s, to capture its calls", self._name, shapes)
            self._reopen(shapes)
        if self._graph is None:  # an earlier call could not load it for lack of memory
            self._reopen(None)
        graph: OrtGraph = self._graph  # type: ignore[assignment] # set by `_reopen`
        return graph

    def _reopen(self, shapes: Shapes | None) -> None:
        """Load the graph for `shapes`, or for all shapes."""
        with DEVICE_ACCESS.shared():
            self._graph = None  # memory may not suffice for two sessions
        self._fixed = None
        axes = fixed_axes((*self.inputs, *self.optional), shapes) if shapes else {}
        self._graph = self._open(engine=EngineOptions({}, axes) if axes else NO_ENGINE)
        self._fixed = shapes
