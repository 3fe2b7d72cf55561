"""Graphs under TensorRT: an engine for each hot shape, built in the background while CUDA serves.

Building one takes from half a minute to many, so a graph begins on CUDA. After HOT calls of one shape its engine is
built by the one thread that builds them all, and takes over at the next call of that shape with at most `WIDEST` rows.
Engines are kept in a folder for each graph and shape: after a restart they are read in seconds.
Where an engine can't be built, CUDA goes on serving and the log says why, once. CUDA's session stays: other shapes need
it, at the price of the weights' memory once more for each engine.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .ort import OrtGraph
from .providers import onnxruntime
from .tuning import WIDEST, engine_name, tensorrt_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from .graph import Graph, Values
    from .runtime import Runtime

    Shape = tuple[tuple[str, tuple[int, ...]], ...]

log = logging.getLogger(__name__)

HOT = 8  # calls: the denoiser's shape is hot within the first picture, a decoder's after some


@cache
def builder() -> ThreadPoolExecutor:
    """Return the thread that builds engines: two at a time would measure each other's kernels."""
    return ThreadPoolExecutor(1, thread_name_prefix="tintype-engine")


class TensorRtGraph:
    """A graph on CUDA whose hot shapes move to TensorRT. Raises what onnxruntime raises."""

    provider = "tensorrt"

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._path, self._runtime = path, runtime
        plain = replace(runtime.tuning, cuda_graphs=False)  # building calls CUDA for minutes, which a capture forbids
        self._cuda: Graph = OrtGraph(path, replace(runtime, provider="cuda", tuning=plain))
        self.inputs, self.optional, self.outputs = self._cuda.inputs, self._cuda.optional, self._cuda.outputs
        self._calls: dict[Shape, int] = {}
        self._engines: dict[Shape, Future[Graph | None]] = {}

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        return self._graph(outputs, feeds).run(outputs, feeds)

    def _graph(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph:
        """Return what runs these shapes now; calls that differ in their rows alone share an engine."""
        rows = feeds[self.inputs[0].name].shape[0]
        key = tuple((name, array.shape[1:]) for name, array in feeds.items())
        if rows > WIDEST:
            return self._cuda
        if key not in self._engines:
            self._calls[key] = self._calls.get(key, 0) + 1
            if self._calls[key] >= HOT:
                self._engines[key] = builder().submit(
                    self._build, outputs, {k: np.zeros_like(v) for k, v in feeds.items()}
                )
            return self._cuda
        engine = self._engines[key]
        return (engine.result() if engine.done() else None) or self._cuda

    def _build(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph | None:
        """Return a session with an engine that has answered once, for its first call may build as well."""
        shapes = {name: array.shape for name, array in feeds.items()}
        name = engine_name(self._path, shapes, onnxruntime().__version__)
        folder = self._runtime.tuning.engines.expanduser() / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            log.info("%s: the engine %s is built", self._path.parent.name, folder)
            made = OrtGraph(self._path, self._runtime, tensorrt_options((*self.inputs, *self.optional), shapes, folder))
            if made.provider != self.provider:
                raise RuntimeError(f"onnxruntime takes {made.provider} in its place")  # noqa: TRY301
            made.run(outputs, feeds)
        except Exception as error:  # noqa: BLE001 - whatever it is, CUDA serves
            log.warning("%s stays on CUDA: no engine for %s: %s", self._path.parent.name, shapes, error)
            return None
        log.info("%s: the engine is there", self._path.parent.name)
        return made
