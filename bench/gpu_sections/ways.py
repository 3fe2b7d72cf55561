"""Ways to run a graph under onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tintype.service.models.runtime.device_buffers import DeviceBuffers
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.plugins.table import installed
from tintype.service.models.runtime.provider_options import DEVICES, GraphRole, ProviderOptions, fixed_axes
from tintype.service.models.runtime.providers import is_standalone, load_libraries, onnxruntime, with_fallbacks
from tintype.service.models.runtime.runtime import Runtime, usable_cores
from tintype.service.models.runtime.session_options import (
    EXTERNAL_DATA_FOLDER,
    NO_ENGINE,
    EngineOptions,
    session_options,
)
from tintype.service.models.runtime.tensorrt import HOT, TensorRtGraph, builder

from .turns import Way

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from tintype.service.models.graph_source import GraphSource
    from tintype.service.models.runtime.graph import Port

    from .turns import Call, Feeds

PLAIN, CAPTURED = ProviderOptions(cuda_graphs=False), ProviderOptions(cuda_graphs=True, fixed_shapes=True)
EXHAUSTIVE = {"cudnn_conv_algo_search": "EXHAUSTIVE"}  # onnxruntime's default


class GraphCall(NamedTuple):
    """A graph, its first output, its inputs, and arrays for a call."""

    source: GraphSource
    output: str
    ports: tuple[Port, ...]
    feeds: Feeds

    @property
    def engine(self) -> EngineOptions:
        """Options of a session for the shapes of `feeds` alone."""
        return EngineOptions({}, fixed_axes(self.ports, {name: array.shape for name, array in self.feeds.items()}))


def ways(provider: str, call: GraphCall) -> list[Way]:
    """Return the ways that a provider has, the plain one first: run, bound, graph, fixed."""
    source, output = call.source, call.output
    if is_standalone(provider):
        return [Way("run", lambda: _first(Runtime.choose((provider,)).open(source), output))]
    made = [Way("run", lambda: run(provider, source, output))]
    if device := DEVICES.get(provider):
        made += [Way("bound", lambda: bound(provider, source, output, device))]
        made += [Way("graph", lambda: captured(provider, call))]
    return [*made, Way("fixed", lambda: run(provider, source, output, call.engine))]


def run(provider: str, source: GraphSource, output: str, engine: EngineOptions = NO_ENGINE) -> Call:
    """Send all arrays to the device and back at each call."""
    session = _open(provider, source, engine)._session
    return lambda feeds: session.run([output], dict(feeds))[0]


def bound(provider: str, source: GraphSource, output: str, device: str) -> Call:
    """Keep buffers on the device; what stays the same is sent once. The service's way on a device."""
    return _first(DeviceBuffers(_open(provider, source)._session, device), output)


def captured(provider: str, call: GraphCall) -> Call:
    """Like `bound`, with captured calls; a plugin captures only graphs without free axes.

    Raises:
        RuntimeError: onnxruntime refuses to capture the graph.
    """
    engine = call.engine if provider in installed() else NO_ENGINE
    graph = _open(provider, call.source, engine, CAPTURED)
    if not graph.captures:
        raise RuntimeError("onnxruntime does not capture this graph: a node is not on the device")
    return _first(graph, call.output)


def exhaustive(source: GraphSource, output: str) -> Call:
    """Like `run` on CUDA, with cuDNN's exhaustive search for each convolution's plan."""
    load_libraries("cuda")
    names = with_fallbacks("cuda")
    settings = session_options(usable_cores(), shared=False)
    with source.open("cuda") as content:
        if content.folder:
            settings.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(content.folder))
        options = [EXHAUSTIVE, *({} for _ in names[1:])]
        providers = list(zip(names, options, strict=True))
        session = onnxruntime().InferenceSession(content.model, settings, providers, enable_fallback=0)
    return lambda feeds: session.run([output], dict(feeds))[0]


def tensorrt(call: GraphCall, folder: Path) -> Call:
    """Return calls of a TensorRT engine for the shapes of the denoiser's arrays, once it is built.

    Raises:
        RuntimeError: no engine could be built.
    """
    graph = TensorRtGraph(call.source, usable_cores(), options=ProviderOptions(engines=folder))
    for _ in range(HOT):
        graph.run([call.output], call.feeds)
    after: Future[None] = builder().submit(lambda: None)
    after.result()  # the builder's queue is in order: the engine is built, or has failed
    if not graph._engines or not all(engine.result() for engine in graph._engines.values()):
        raise RuntimeError("no engine could be built; see the log")
    return _first(graph, call.output)


def _open(
    provider: str, source: GraphSource, engine: EngineOptions = NO_ENGINE, options: ProviderOptions = PLAIN
) -> OrtGraph:
    return OrtGraph(source, provider, usable_cores(), options=options, role=GraphRole.DENOISER, engine=engine)


def _first(graph: Any, output: str) -> Call:
    return lambda feeds: graph.run([output], feeds)[0]
