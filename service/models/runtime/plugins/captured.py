"""Denoisers on a plugin that captures calls at one frequent shape.

WebGPU's plugin captures a graph only without free axes, because onnxruntime computes shapes on the CPU otherwise. Each
such session holds all weights, so only one session is kept: after HOT calls of one shape in a row the graph is loaded
again with this shape's axes, and its calls are captured. A call of another shape loads it with free axes again, and
doubles the number of calls required from then on.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from ..cuda_graphs import DEVICE_ACCESS
from ..ort import NO_ENGINE, EngineOptions, OrtGraph
from ..provider_options import GraphRole, fixed_axes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...graph_source import GraphSource
    from ..graph import Graph, Values
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
        self._graph: Graph | None = self._open()
        self.inputs, self.optional, self.outputs = self._graph.inputs, self._graph.optional, self._graph.outputs
        self.provider = self._graph.provider
        self._fixed: Shapes | None = None
        self._latest: Shapes = {}
        self._repeats, self._hot = 0, HOT

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        shapes = {name: array.shape for name, array in feeds.items()}
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
        graph: Graph = self._graph  # type: ignore[assignment] # set by `_reopen`
        return graph.run(outputs, feeds)

    def _reopen(self, shapes: Shapes | None) -> None:
        """Load the graph for `shapes`, or for all shapes."""
        with DEVICE_ACCESS.shared():
            self._graph = None  # memory may not suffice for two sessions
        self._fixed = None
        axes = fixed_axes((*self.inputs, *self.optional), shapes) if shapes else {}
        self._graph = self._open(engine=EngineOptions({}, axes) if axes else NO_ENGINE)
        self._fixed = shapes
