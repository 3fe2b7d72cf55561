"""Graphs under onnxruntime."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import Cancelled
from ..kept_graphs import GRAPH, WEIGHTS, kept_graph
from . import nvidia
from .cuda_graphs import DEVICE_ACCESS
from .device_buffers import DeviceBuffers, fetch
from .graph import Port, is_out_of_memory
from .plugins import library
from .plugins.cpu_nodes import cpu_nodes
from .plugins.spare_memory import LowMemory, ShapeCheck, check_room
from .plugins.table import installed
from .provider_options import DEFAULTS, DEVICES, NVIDIA, GraphRole, capture_options, cuda_options
from .providers import PROVIDERS, load_libraries, onnxruntime, run_probe, with_fallbacks
from .rewriting.loading import rewritten
from .session_options import (
    EXTERNAL_DATA_FOLDER,
    NO_ENGINE,
    EngineOptions,
    keep_as_written,
    keep_weights_mapped,
    session_options,
    share_arena,
    write_optimized,
)
from .stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..graph_source import GraphContent, GraphSource
    from .graph import Values
    from .provider_options import ProviderOptions

log = logging.getLogger(__name__)

# On a CPU onnxruntime 1.31 casts optional inputs of this type and plans the memory of the casts by the shapes of their
# defaults; it then refuses adapters, which are larger.
HALF = "tensor(float16)"

CAPTURE_REFUSED = "graph capture feature"  # part of onnxruntime's error for a graph that it can't capture


class _GraphSettings(NamedTuple):
    """The settings that all sessions of one graph share; `rewrites` lets the provider's rewriting change the graph."""

    source: GraphSource
    provider: str
    threads: int
    options: ProviderOptions
    rewrites: bool = True


class Opened(NamedTuple):
    """A session, whether it captures its calls, and whether its graph has CUDA's fused norms, channels last."""

    session: Any
    graphs: bool
    fused: bool = False


class OrtGraph:
    """A graph as a session of onnxruntime; `provider` is its short name, `threads` those of one call on a CPU.

    `engine` is for TensorRT, and for a plugin that captures its calls. Raises onnxruntime's errors.
    """

    def __init__(
        self,
        source: GraphSource,
        provider: str,
        threads: int,
        *,
        options: ProviderOptions = DEFAULTS,
        role: GraphRole = GraphRole.TEXT_ENCODER,
        stop_flag: StopFlag | None = None,
        engine: EngineOptions = NO_ENGINE,
    ) -> None:
        self._settings = _GraphSettings(source, provider, threads, options)
        self._shrinks = options.shrinks(role)
        self._stop_flag = stop_flag or StopFlag()
        self._session: Any
        self._buffers: DeviceBuffers | None = None
        self._shapes = ShapeCheck(provider)
        self.captures = self.fused = False
        fixed = bool(engine.axes) or provider not in installed()  # plugins capture only graphs without free axes
        self._open(engine, graphs=fixed and options.captures(provider, role))
        self.inputs = _ports(self._session.get_inputs())
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.provider = _short_name(provider, self._session.get_providers()[0])
        self.device = DEVICES.get(provider, "")

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`.

        If a call with CUDA graphs or of a rewritten graph fails, a plain session replaces this one.
        """
        if self.device:
            return fetch(self.run_on_device(outputs, feeds), self.device)
        results: list[Values] = self._session.run(list(outputs), dict(feeds), self._stop_flag.options)
        return results

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` of arrays and values on the device: `DeviceBuffers.run_on_device`."""
        settings = self._settings
        if self._session is None:  # an earlier call could not open the session without CUDA graphs for lack of memory
            self._open(NO_ENGINE, graphs=False)
        assert self._buffers, "the provider has device buffers"  # noqa: S101
        try:
            results = self._buffers.run_on_device(outputs, feeds)
            self._shapes.check(feeds)
        except LowMemory:
            self._buffers, self._session = None, None  # some of its buffers may be unusable
            raise
        except Exception as error:
            self._stop_flag.check()
            if not (self.captures or self.fused) or is_out_of_memory(error):
                raise
            what = "CUDA graphs" if self.captures else "fused norms"
            log.warning("%s: a call with %s failed and is repeated without: %s", settings.source.component, what, error)
        else:
            return results
        with DEVICE_ACCESS.shared():
            self._buffers, self._session = None, None  # memory may not suffice for two sessions
        self._settings = settings._replace(rewrites=False)
        self._open(NO_ENGINE, graphs=False)
        return self.run_on_device(outputs, feeds)

    def _open(self, engine: EngineOptions, *, graphs: bool) -> None:
        settings = self._settings
        self._session, self.captures, self.fused = _open_session(settings, engine, graphs=graphs)
        self.optional = _ports(self._session.get_overridable_initializers())
        if settings.provider == "cpu" and any(port.type == HALF for port in self.optional):
            self._session = None  # memory may not suffice for two sessions
            self._session, *_ = _open_session(settings, NO_ENGINE, graphs=False, reuse=False)
        if device := DEVICES.get(settings.provider):
            ways = {"graphs": self.captures, "shrinks": self._shrinks}
            self._buffers = DeviceBuffers(self._session, device, stop_flag=self._stop_flag, **ways)


def open_session(source: GraphSource, provider: str, options: ProviderOptions = DEFAULTS) -> Any:
    """Return onnxruntime's session of a graph that is not captured. Raises its errors."""
    return _open_session(_GraphSettings(source, provider, 1, options), NO_ENGINE, graphs=False).session


def _open_session(settings: _GraphSettings, engine: EngineOptions, *, graphs: bool, reuse: bool = True) -> Opened:
    """Return a session; with the graph as it is if CUDA can't open the rewritten one.

    onnxruntime refuses to capture a graph that has a node outside of CUDA; the session is then opened without capture.
    """
    source, provider, chosen = settings.source, settings.provider, settings.options
    load_libraries(provider)
    share_arena()
    if provider == "cpu" and (session := _open_kept(settings, reuse=reuse)):
        return Opened(session, graphs=False)
    graphs = graphs and source not in _uncaptured
    if provider in NVIDIA and not graphs and not chosen.arena:
        nvidia.share_arena()
    fused = False
    try:
        with source.open(provider) as original, DEVICE_ACCESS.shared():
            content, replaced = rewritten(original, _rewriting(settings))
            fused = provider == "cuda" and bool(replaced)
            providers = _providers(settings, engine, graphs=graphs, nhwc=fused)
            options = _session_options(settings, engine, content, graphs=graphs, reuse=reuse)
            session = onnxruntime().InferenceSession(content.model, options, providers, enable_fallback=0)
    except Exception as error:
        if isinstance(error, Cancelled) or not (graphs or fused):
            raise
        if fused and not (graphs and CAPTURE_REFUSED in str(error)):
            log.warning("%s: the rewritten graph cannot be opened: %s", source.component, error)
            return _open_session(settings._replace(rewrites=False), engine, graphs=graphs, reuse=reuse)
        log.warning("%s runs without captured graphs: %s", source.component, error)
        _uncaptured.add(source)
        return _open_session(settings, engine, graphs=False)
    if any(values for _, values in providers):
        log.info("%s: %s", source.component, ", ".join(f"{name} {values}" for name, values in providers))
    return Opened(session, graphs, fused)


def _open_kept(settings: _GraphSettings, *, reuse: bool) -> Any:
    """Return a session of the optimized graph, which is kept first if need be; None if that fails or is not wanted."""
    chosen = settings.options
    kept = kept_graph(settings.source, chosen.kept, onnxruntime().__version__, chosen.exact)
    if not kept:
        return None
    options = session_options(settings.threads, reuse=reuse, exact=chosen.exact)
    keep_as_written(options)
    try:
        path = kept.path() or kept.keep(partial(_write_optimized, settings, reuse=reuse))
        return onnxruntime().InferenceSession(path, options, [PROVIDERS["cpu"]], enable_fallback=0)
    except Exception as error:
        if isinstance(error, Cancelled) or is_out_of_memory(error):
            raise
        log.warning("%s: no optimized graph is kept: %s", settings.source.component, error)
        kept.discard()
        return None


def _write_optimized(settings: _GraphSettings, folder: Path, *, reuse: bool) -> None:
    """Write the optimized graph into `folder`, by a session that ends at once."""
    plain = settings._replace(options=replace(settings.options, mapped=False))
    with settings.source.open(settings.provider) as original:
        content = rewritten(original, settings.provider).content
        options = _session_options(plain, NO_ENGINE, content, graphs=False, reuse=reuse)
        write_optimized(options, folder / GRAPH, WEIGHTS)
        onnxruntime().InferenceSession(content.model, options, [PROVIDERS["cpu"]], enable_fallback=0)


_uncaptured: set[GraphSource] = set()  # graphs that onnxruntime refused to capture: one more refusal loads them twice


def _rewriting(settings: _GraphSettings) -> str:
    """Return how the graph is rewritten, by the name of a provider in `rewriting.loading.RULES`; empty if it is not.

    CUDA must have computed a rewritten graph right. A plugin that computes attention wrongly on a GPU computes it right
    of standard operators; on the processor such nodes run on the CPU provider, which is faster (`plugins.cpu_nodes`).
    """
    provider = settings.provider
    if not settings.rewrites or (provider == "cuda" and not run_probe("cuda").channels_last):
        return ""
    if provider not in installed():
        return provider
    probe = run_probe(provider)
    return "tensorrt" if probe.wrong and not probe.software else ""


def _session_options(
    settings: _GraphSettings, engine: EngineOptions, content: GraphContent, *, graphs: bool, reuse: bool
) -> Any:
    chosen, provider = settings.options, settings.provider
    shared = not graphs and not (provider in NVIDIA and chosen.arena)
    options = session_options(settings.threads, reuse=reuse, axes=engine.axes, shared=shared, exact=chosen.exact)
    if chosen.mapped and provider == "cpu":
        keep_weights_mapped(options, content.model)
    if content.folder:
        options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(content.folder))
    if provider in installed():
        check_room(provider, settings.source.bytes_on(provider), settings.source.label)
        captured = capture_options(provider) if graphs else {}
        library.add_device(options, provider, {**captured, **cpu_nodes(provider, content.model)})
    return options


def _providers(
    settings: _GraphSettings, engine: EngineOptions, *, graphs: bool, nhwc: bool
) -> list[tuple[str, dict[str, str]]]:
    """Return onnxruntime's names of the provider and its fallbacks, each with its options; none for a plugin."""
    if settings.provider in installed():
        return []
    limit = settings.options.limit(settings.source.bytes_on(settings.provider))
    options = {
        PROVIDERS["tensorrt"]: dict(engine.options),
        PROVIDERS["cuda"]: cuda_options(graphs=graphs, arena=limit, nhwc=nhwc),
    }
    return [(name, options.get(name, {})) for name in with_fallbacks(settings.provider)]


def _short_name(wanted: str, actual: str) -> str:
    """Return the short name of the provider that onnxruntime calls `actual`."""
    if wanted in installed() and actual == library.long_name(wanted):
        return wanted
    return next(name for name, long_name in PROVIDERS.items() if long_name == actual)


def _ports(arguments: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments)
