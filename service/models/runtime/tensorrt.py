"""Graphs under TensorRT: an engine for each frequent shape, built in the background while CUDA serves.

Building an engine takes from half a minute to many minutes, so a graph starts on CUDA. After HOT calls of one shape,
rows included, one builder thread builds its engine, which takes over at the next call of that shape. All axes of an
engine are fixed. TensorRT does not support onnxruntime's own nodes, such as the attention of our exports: onnxruntime
cuts the graph around them and runs them on CUDA. Each part gets an engine when the session is made.

Engines are kept on disk and are read in seconds after a restart. An unreadable engine is built again, once. If building
fails, CUDA goes on serving and the log says why, once. The CUDA session stays for other shapes. Each engine holds the
weights in memory once more, so a graph has at most ENGINES; the least recently used one is dropped.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from . import tensorrt_engines
from .ort import EngineOptions, OrtGraph
from .provider_options import DEFAULTS, GraphRole, fixed_axes, tensorrt_options
from .stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from .graph import Graph, Values
    from .provider_options import ProviderOptions

    Shape = tuple[tuple[str, tuple[int, ...]], ...]

log = logging.getLogger(__name__)

HOT = 8  # calls: reached by the denoiser within the first image, by a decoder after some images
ENGINES = 3  # of one graph: one and two rows at a usual size, and another size
COUNTED = 64  # shapes whose calls are counted


@cache
def builder() -> ThreadPoolExecutor:
    """Return the thread that builds all engines: two builds at a time would disturb each other's kernel timings."""
    return ThreadPoolExecutor(1, thread_name_prefix="tintype-engine")


class TensorRtGraph:
    """A graph on CUDA whose frequent shapes move to TensorRT. Raises onnxruntime's errors."""

    provider = "tensorrt"

    def __init__(
        self,
        path: Path,
        threads: int,
        *,
        options: ProviderOptions = DEFAULTS,
        role: GraphRole = GraphRole.TEXT_ENCODER,
        stop_flag: StopFlag | None = None,
    ) -> None:
        self._path, self._engine_folder = path, options.engines
        # Building an engine calls CUDA for minutes, which fails a capture.
        plain = replace(options, cuda_graphs=False)
        self._open = partial(
            OrtGraph, path, threads=threads, options=plain, role=role, stop_flag=stop_flag or StopFlag()
        )
        self._cuda: Graph = self._open("cuda")
        self.inputs, self.optional, self.outputs = self._cuda.inputs, self._cuda.optional, self._cuda.outputs
        self._calls: Counter[Shape] = Counter()
        self._engines: OrderedDict[Shape, Future[Graph | None]] = OrderedDict()
        self._refused: set[Shape] = set()

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        return self._graph(outputs, feeds).run(outputs, feeds)

    def _graph(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph:
        """Return the graph that runs these shapes now."""
        shape = tuple((name, array.shape) for name, array in feeds.items())
        if shape in self._engines:
            return self._built(shape) or self._cuda
        if shape not in self._refused and self._is_hot(shape):
            zeros = {name: np.zeros_like(array) for name, array in feeds.items()}
            self._engines[shape] = builder().submit(self._build, outputs, zeros)
        return self._cuda

    def _is_hot(self, shape: Shape) -> bool:
        """Count a call of a shape; return True at the HOT-th, the last one that runs on CUDA."""
        self._calls[shape] += 1
        if self._calls[shape] < HOT:
            if len(self._calls) > COUNTED:
                self._calls.clear()
            return False
        del self._calls[shape]
        return True

    def _built(self, shape: Shape) -> Graph | None:
        """Return the engine of a shape if it is built, and drop the least recently used engine beyond ENGINES."""
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
        """Return a session with an engine, after one call of it: the first call may build as well."""
        root = self._engine_folder.expanduser()
        shapes = {name: array.shape for name, array in feeds.items()}
        try:
            folder = tensorrt_engines.prepared(root, self._path, shapes)
            log.info("%s: building the engine %s", self._path.parent.name, folder)
            built = self._read_or_build(outputs, feeds, folder)
            tensorrt_engines.prune(root, folder)
        except Exception as error:  # noqa: BLE001 - CUDA serves after any error
            log.warning("%s stays on CUDA: no engine for %s: %s", self._path.parent.name, shapes, error)
            return None
        log.info("%s: the engine is ready", self._path.parent.name)
        return built

    def _read_or_build(self, outputs: Sequence[str], feeds: Mapping[str, Values], folder: Path) -> Graph:
        """Return a session with the engine in `folder`; an unreadable engine is built again."""
        try:
            return self._session(outputs, feeds, folder)
        except Exception as error:
            if not tensorrt_engines.is_unreadable(error):
                raise
            log.warning("%s: the engine is unreadable and is built again: %s", self._path.parent.name, error)
        tensorrt_engines.empty(folder)
        return self._session(outputs, feeds, folder)

    def _session(self, outputs: Sequence[str], feeds: Mapping[str, Values], folder: Path) -> Graph:
        ports = (*self.inputs, *self.optional)
        axes = fixed_axes(ports, {name: array.shape for name, array in feeds.items()})
        graph = self._open("tensorrt", engine=EngineOptions(tensorrt_options(ports, folder), axes))
        if graph.provider != self.provider:
            raise RuntimeError(f"onnxruntime runs the graph on {graph.provider} instead")
        graph.run(outputs, feeds)
        return graph
