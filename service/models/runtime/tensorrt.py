"""Graphs under TensorRT: an engine for each frequent shape, built in the background while CUDA serves.

Building an engine takes from half a minute to many minutes, so a graph starts on CUDA. After HOT calls of one shape,
rows included, one builder thread builds its engine, which takes over at the next call of that shape. All axes of an
engine are fixed. Attention and norms of our exports become standard operators (`rewriting.standard_operators`), so that
one engine holds the whole graph; onnxruntime cuts a graph around nodes that TensorRT does not support, and runs those
on CUDA. The first result of an engine is compared with CUDA's.

Each engine holds the weights in memory once more, so a graph has at most MAX_ENGINES; the least recently used one is
dropped. While it is built they are there a third time. So it is built only if the GPU has room for it, and waits up to
PATIENCE seconds for a pause of the graph's calls, which kernels are timed beside. The CUDA session stays for other
shapes. If building fails, CUDA goes on serving and the log says why, once.

Engines are kept on disk, one folder each, and are read in seconds after a restart. An unreadable engine is built again,
once. An engine holds for one graph with one shape of inputs, one GPU, and one version of TensorRT and of onnxruntime;
the folder's name is a hash of all of these, since onnxruntime itself compares only the names of a graph and its nodes.
All engines together take at most MAX_BYTES; the least recently used ones are removed.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from shutil import rmtree
from typing import TYPE_CHECKING

import numpy as np

from ...errors import OutOfMemory
from . import nvidia
from .device_buffers import is_close
from .ort import OrtGraph
from .provider_options import DEFAULTS, GraphRole, fixed_axes, tensorrt_options
from .providers import onnxruntime
from .rewriting.loading import REVISION
from .session_options import EngineOptions
from .stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from ..graph_source import GraphSource
    from .graph import Graph, Values
    from .provider_options import ProviderOptions

    InputShapes = tuple[tuple[str, tuple[int, ...]], ...]
    Shapes = Mapping[str, tuple[int, ...]]

log = logging.getLogger(__name__)

HOT = 8  # calls: reached by the denoiser within the first image, by a decoder after some images
MAX_ENGINES = 3  # of one graph: one and two rows at a usual size, and another size
MAX_COUNTED = 64  # shapes whose calls are counted
MAX_BYTES = 64 * 2**30  # of all engines on disk: about ten engines of the largest models
PAUSE, PATIENCE = 1.0, 20.0  # seconds
COPIES = 2  # of the weights, while an engine is built: the parser's and the engine's
LEAST_WORKSPACE = 2**28  # bytes for the scratch memory of kernels, below which no engine is built
TOLERANCE = 5e-2  # of the largest value, between an engine and CUDA, which round half precision differently
DESCRIPTION = "tintype-engine.txt"  # the file that says what an engine was built for; it changes with each use
_UNREADABLE = "deserialize engine"  # part of the provider's error for an engine that TensorRT refuses


@cache
def builder() -> ThreadPoolExecutor:
    """Return the thread that builds all engines: two builds at a time would disturb each other's kernel timings."""
    return ThreadPoolExecutor(1, thread_name_prefix="tintype-engine")


class TensorRtGraph:
    """A graph on CUDA whose frequent shapes move to TensorRT. Raises onnxruntime's errors."""

    provider = "tensorrt"

    def __init__(
        self,
        source: GraphSource,
        threads: int,
        *,
        options: ProviderOptions = DEFAULTS,
        role: GraphRole = GraphRole.TEXT_ENCODER,
        stop_flag: StopFlag | None = None,
    ) -> None:
        self._source, self._engine_folder, self._options = source, options.engines, options
        # Building an engine calls CUDA for minutes, which fails a capture.
        plain = replace(options, cuda_graphs=False)
        self._open = partial(
            OrtGraph, source, threads=threads, options=plain, role=role, stop_flag=stop_flag or StopFlag()
        )
        self._cuda: Graph = self._open("cuda")
        self.inputs, self.optional, self.outputs = self._cuda.inputs, self._cuda.optional, self._cuda.outputs
        self._calls: Counter[InputShapes] = Counter()
        self._engines: OrderedDict[InputShapes, Future[Graph | None]] = OrderedDict()
        self._failed: set[InputShapes] = set()
        self._checked: set[InputShapes] = set()
        self._latest_call = 0.0  # by time.monotonic

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        shape = tuple((name, array.shape) for name, array in feeds.items())
        graph = self._graph_for(shape, outputs, feeds)
        results = graph.run(outputs, feeds)
        if graph is not self._cuda and shape not in self._checked:
            results = self._checked_results(shape, outputs, feeds, results)
        self._latest_call = time.monotonic()
        return results

    def _checked_results(
        self, shape: InputShapes, outputs: Sequence[str], feeds: Mapping[str, Values], results: list[Values]
    ) -> list[Values]:
        """Return an engine's results if they are close to CUDA's; otherwise CUDA's, and drop the engine."""
        right = self._cuda.run(outputs, feeds)
        if all(is_close(result, other, TOLERANCE) for result, other in zip(results, right, strict=True)):
            self._checked.add(shape)
            return results
        log.warning("%s stays on CUDA: the engine for %s computes other values", self._source.component, dict(shape))
        self._failed.add(shape)
        del self._engines[shape]
        return right

    def _graph_for(self, shape: InputShapes, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph:
        """Return the graph that runs these shapes now."""
        if shape in self._engines:
            return self._finished_engine(shape) or self._cuda
        if shape not in self._failed and self._is_hot(shape):
            zeros = {name: np.zeros_like(array) for name, array in feeds.items()}
            self._engines[shape] = builder().submit(self._build, outputs, zeros)
        return self._cuda

    def _is_hot(self, shape: InputShapes) -> bool:
        """Count a call of a shape; return True at the HOT-th, the last one that runs on CUDA."""
        self._calls[shape] += 1
        if self._calls[shape] < HOT:
            if len(self._calls) > MAX_COUNTED:
                self._calls.clear()
            return False
        del self._calls[shape]
        return True

    def _finished_engine(self, shape: InputShapes) -> Graph | None:
        """Return the engine of a shape if it is built, and drop the least recently used engines beyond MAX_ENGINES."""
        engine = self._engines[shape]
        if not engine.done():
            return None
        graph = engine.result()
        if graph is None:
            self._failed.add(shape)
            del self._engines[shape]
            return None
        self._engines.move_to_end(shape)
        while len(self._engines) > MAX_ENGINES:
            self._checked.discard(self._engines.popitem(last=False)[0])
        return graph

    def _build(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> Graph | None:
        """Return a session with an engine, after one call of it: the first call may build as well."""
        root = self._engine_folder.expanduser()
        shapes = {name: array.shape for name, array in feeds.items()}
        try:
            self._wait_for_pause()
            folder = engine_folder(root, self._source, shapes)
            log.info("%s: building the engine %s", self._source.component, folder)
            graph = self._read_or_build(outputs, feeds, folder)
            remove_old_engines(root, folder)
        except Exception as error:  # noqa: BLE001 - CUDA serves after any error
            log.warning("%s stays on CUDA: no engine for %s: %s", self._source.component, shapes, error)
            return None
        log.info("%s: the engine is ready", self._source.component)
        return graph

    def _read_or_build(self, outputs: Sequence[str], feeds: Mapping[str, Values], folder: Path) -> Graph:
        """Return a session with the engine in `folder`; an unreadable engine is built again."""
        try:
            return self._open_engine(outputs, feeds, folder)
        except Exception as error:
            if not is_unreadable(error):
                raise
            log.warning("%s: the engine is unreadable and is built again: %s", self._source.component, error)
        empty_folder(folder)
        return self._open_engine(outputs, feeds, folder)

    def _open_engine(self, outputs: Sequence[str], feeds: Mapping[str, Values], folder: Path) -> Graph:
        """Return a session with the engine in `folder`, which its first call builds if it is missing."""
        ports = (*self.inputs, *self.optional)
        axes = fixed_axes(ports, {name: array.shape for name, array in feeds.items()})
        options = tensorrt_options(ports, folder, self._workspace())
        graph = self._open("tensorrt", engine=EngineOptions(options, axes))
        if graph.provider != self.provider:
            raise RuntimeError(f"onnxruntime runs the graph on {graph.provider} instead")
        graph.run(outputs, feeds)
        return graph

    def _wait_for_pause(self) -> None:
        """Wait until no call has ended within the last PAUSE seconds, at most PATIENCE seconds."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < min(end, self._latest_call + PAUSE):
            time.sleep(PAUSE / 10)

    def _workspace(self) -> int:
        """Return the bytes of kernels' scratch memory while an engine is built, 0 for TensorRT's default.

        Half of the free memory stays for running calls.

        Raises:
            OutOfMemory: the GPU has no room for the engine.
        """
        free, copies = nvidia.free_memory(), COPIES * self._source.weights_bytes
        if not free:
            return 0
        workspace = (free - copies) // 2
        if workspace < LEAST_WORKSPACE:
            raise OutOfMemory(f"building it takes {copies + 2 * LEAST_WORKSPACE} bytes of GPU memory; {free} are free")
        return min(workspace, self._options.arena) if self._options.arena else workspace


def engine_folder(root: Path, source: GraphSource, shapes: Shapes) -> Path:
    """Return the folder below `root` for the engine of a graph and shapes; create it if missing, and record its use."""
    facts = _facts(source, shapes)
    digest = sha256("\n".join(facts).encode()).hexdigest()
    folder = root / f"{source.component}-{digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).write_text("\n".join(facts) + "\n", "utf-8")
    return folder


def is_unreadable(error: Exception) -> bool:
    """Return whether TensorRT can't read the engine: it is damaged, or belongs to another TensorRT or GPU."""
    return _UNREADABLE in str(error).lower()


def empty_folder(folder: Path) -> None:
    """Empty an engine's folder, except for its description."""
    for file in folder.iterdir():
        if file.name != DESCRIPTION:
            file.unlink()


def remove_old_engines(root: Path, keep: Path) -> None:
    """Remove the least recently used engines until all take at most MAX_BYTES, but never `keep`.

    Folders without a description were not made by tintype and stay.
    """
    with suppress(OSError):  # another server may be removing the same engines
        last_uses = {file.parent: file.stat().st_mtime_ns for file in root.glob(f"*/{DESCRIPTION}")}
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in last_uses}
        excess = sum(sizes.values()) - MAX_BYTES
        for folder in sorted(last_uses.keys() - {keep}, key=last_uses.__getitem__):
            if excess <= 0:
                break
            excess -= sizes[folder]
            log.info("removing the engine %s: all engines exceed %d GiB", folder, MAX_BYTES >> 30)
            rmtree(folder)


def _facts(source: GraphSource, shapes: Shapes) -> list[str]:
    """Return what an engine depends on, one fact per line."""
    versions = [f"onnxruntime {onnxruntime().__version__}", f"TensorRT {nvidia.tensorrt_version()}"]
    stats = [(file, file.stat()) for file in source.files]
    return [
        source.label,
        *versions,
        f"GPU {nvidia.describe_gpu()}",
        f"rewriting {REVISION}",
        *(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in stats),
        *(f"{name} {shape}" for name, shape in sorted(shapes.items())),
    ]
