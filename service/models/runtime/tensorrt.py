"""Graphs under TensorRT: an engine for each hot shape, built in the background while CUDA serves.

Building one takes from half a minute to many, so a graph begins on CUDA. After HOT calls of one shape, the number of
rows included, its engine is built by the one thread that builds them all, and takes over at the next call of it.
All axes of an engine are fixed. TensorRT knows no node of onnxruntime's own, such as the attention of our exports, so
onnxruntime cuts the graph around these and runs them on CUDA; each part gets an engine when the session is made.

Engines are kept on disk: after a restart they are read in seconds. One that can't be read is built anew, once.
Where an engine can't be built, CUDA goes on serving and the log says why, once. CUDA's session stays: other shapes need
it. Each engine has the weights in memory once more, so a graph has at most ENGINES; the one used longest ago goes.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from . import tensorrt_engines
from .ort import Engine, OrtGraph
from .provider_options import fixed_axes, tensorrt_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from .graph import Graph, Values
    from .runtime import Runtime

    Shape = tuple[tuple[str, tuple[int, ...]], ...]

log = logging.getLogger(__name__)

HOT = 8  # calls: the denoiser's shape is hot within the first image, a decoder's after some
ENGINES = 3  # of one graph: one and two rows at a usual size, and another size
COUNTED = 64  # shapes whose calls are counted


@cache
def builder() -> ThreadPoolExecutor:
    """Return the thread that builds engines: two at a time would measure each other's kernels."""
    return ThreadPoolExecutor(1, thread_name_prefix="tintype-engine")


class TensorRtGraph:
    """A graph on CUDA whose hot shapes move to TensorRT. Raises what onnxruntime raises."""

    provider = "tensorrt"

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path, self._runtime = path, runtime
        plain = replace(runtime.options, cuda_graphs=False)  # building calls CUDA for minutes, which a capture forbids
        self._cuda: Graph = OrtGraph(path, replace(runtime, provider="cuda", options=plain))
        self.inputs, self.optional, self.outputs = self._cuda.inputs, self._cuda.optional, self._cuda.outputs
        self._calls: Counter[Shape] = Counter()
        self._engines: OrderedDict[Shape, Future[Graph | None]] = OrderedDict()
        self._refused: set[Shape] = set()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        return self._graph(outputs, feeds).run(outputs, feeds)

    def _graph(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph:
        """Return what runs these shapes now."""
        shape = tuple((name, array.shape) for name, array in feeds.items())
        if shape in self._engines:
            return self._built(shape) or self._cuda
        if shape not in self._refused and self._is_hot(shape):
            zeros = {name: np.zeros_like(array) for name, array in feeds.items()}
            self._engines[shape] = builder().submit(self._build, outputs, zeros)
        return self._cuda

    def _is_hot(self, shape: Shape) -> bool:
        """Count a call of a shape.

        Return True for the last one that runs on CUDA.
        """
        self._calls[shape] += 1
        if self._calls[shape] < HOT:
            if len(self._calls) > COUNTED:
                self._calls.clear()
            return False
        del self._calls[shape]
        return True

    def _built(self, shape: Shape) -> Graph | None:
        """Return the engine of a shape, if it is there.

        The one used longest ago makes room for it.
        """
        engine = self._engines[shape]
        if not engine.done():
            return None
        graph = engine.result()
        if graph is None:
            self._refused.add(shape)
            del self._engines[shape]
            return None
        self._engines.move_to_end(shape)
        while len(self._engines) > ENGINES:
            self._engines.popitem(last=False)
        return graph

    def _build(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph | None:
        """Return a session with an engine that has answered once, for its first call may build as well."""
        root = self._runtime.options.engines.expanduser()
        shapes = {name: array.shape for name, array in feeds.items()}
        try:
            folder = tensorrt_engines.prepared(root, self._path, shapes)
            log.info("%s: the engine %s is built", self._path.parent.name, folder)
            made = self._opened(outputs, feeds, folder)
            tensorrt_engines.prune(root, folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, CUDA serves
            log.warning("%s stays on CUDA: no engine for %s: %s", self._path.parent.name, shapes, error)
            return None
        log.info("%s: the engine is there", self._path.parent.name)
        return made

    def _opened(self, outputs: Sequence[str], feeds: Mapping[str, Values], folder: Path) -> Graph:
        """Open the engine in a folder, or build it.

        What can't be read is built anew.
        """
        try:
            return self._made(outputs, feeds, folder)
        except Exception as error:
            if not tensorrt_engines.is_unreadable(error):
                raise
            log.warning("%s: the engine can't be read, and is built anew: %s", self._path.parent.name, error)
        tensorrt_engines.empty(folder)
        return self._made(outputs, feeds, folder)

    def _made(self, outputs: Sequence[str], feeds: Mapping[str, Values], folder: Path) -> Graph:
        ports = (*self.inputs, *self.optional)
        axes = fixed_axes(ports, {name: array.shape for name, array in feeds.items()})
        made = OrtGraph(self._path, self._runtime, Engine(tensorrt_options(ports, folder), axes))
        if made.provider != self.provider:
            raise RuntimeError(f"onnxruntime takes {made.provider} in its place")
        made.run(outputs, feeds)
        return made
