"""Graphs under onnxruntime."""

from __future__ import annotations

import logging
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import Cancelled
from ..wire_format import map_file
from .cuda_graphs import DEVICE_ACCESS
from .device_buffers import DeviceBuffers, fetch
from .graph import Port, is_out_of_memory
from .plugins import library
from .plugins.cpu_nodes import cpu_nodes
from .plugins.spare_memory import LowMemory, ShapeCheck, check_room
from .plugins.table import installed
from .provider_options import DEFAULTS, DEVICES, GraphRole, capture_options, cuda_options
from .providers import PROVIDERS, load_libraries, onnxruntime, with_fallbacks
from .stop_flag import StopFlag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..graph_source import GraphSource
    from .graph import Values
    from .provider_options import ProviderOptions

log = logging.getLogger(__name__)

# On a CPU onnxruntime 1.31 casts optional inputs of this type and plans the memory of the casts by the shapes of their
# defaults; it then refuses adapters, which are larger.
HALF = "tensor(float16)"

SAME_AS_REQUESTED = 1  # the arena grows by the size requested, not by powers of two

EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"

DISABLE_PREPACKING = "session.disable_prepacking"

QUANTIZED = (b"MatMulNBits", b"DequantizeLinear")  # operators that read quantized weights

# How int8 weights of exported models are multiplied: onnxruntime makes MatMulNBits of them.
# At level 4 the other factor is rounded to int8 as well. At level 1, of `ProviderOptions.exact`, it is not: a layer
# then takes 1.2 (1,024 rows) to 4 times as long (77 rows).
# In blocks of 64 MatMulNBits gives a row the same bits alone and in a batch on CPUs with AVX2 or AVX-512 VNNI, and a
# large layer takes 0.9 of the time of blocks of 32, the default. Gemm, of layers with one row per image, is another
# kernel for one row: float32's rounding, which later layers turn into other int8 numbers (0.003 of a call).
ACCURACY_LEVEL, FAST, EXACT = "session.qdq_matmulnbits_accuracy_level", "4", "1"
ARITHMETIC = {ACCURACY_LEVEL: FAST, "session.qdq_matmulnbits_block_size": "64"}

# Entries of a session's configuration (onnxruntime_session_options_config_keys.h).
ENTRIES = {
    # Threads that spin while they wait take the cores from gRPC and encoding. Without spinning a UNet on two busy cores
    # took 0.85 to 0.98 of the time.
    "session.intra_op.allow_spinning": "0",
    # All sessions of a device share one arena: each reuses memory that another has freed. With the built-in model the
    # process holds 14 % less after a large image.
    "session.use_env_allocators": "1",
    # Weights stay outside of the arena, which would round up their sizes and keep them when the model is evicted.
    "session.use_device_allocator_for_initializers": "1",
    **ARITHMETIC,
}


class EngineOptions(NamedTuple):
    """The settings of a session for an engine of TensorRT: provider options, and lengths of named axes."""

    options: Mapping[str, str]
    axes: Mapping[str, int]


NO_ENGINE = EngineOptions({}, {})


class _GraphSettings(NamedTuple):
    """The settings that all sessions of one graph share."""

    source: GraphSource
    provider: str
    threads: int
    options: ProviderOptions


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
        self._shrinks = role is GraphRole.VAE
        self._stop_flag = stop_flag or StopFlag()
        self._session: Any
        self._buffers: DeviceBuffers | None = None
        self._shapes = ShapeCheck(provider)
        self.captures = False
        fixed = bool(engine.axes) or provider not in installed()  # plugins capture only graphs without free axes
        self._open(engine, graphs=fixed and options.captures(provider, role))
        self.inputs = _ports(self._session.get_inputs())
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.provider = _short_name(provider, self._session.get_providers()[0])
        self.device = DEVICES.get(provider, "")

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`.

        If a call with CUDA graphs fails, a session without them replaces this one.
        """
        if self.device:
            return fetch(self.run_on_device(outputs, feeds))
        results: list[Values] = self._session.run(list(outputs), dict(feeds), self._stop_flag.options)
        return results

    def run_on_device(self, outputs: Sequence[str], feeds: Mapping[str, Any]) -> list[Any]:
        """Compute `outputs` of arrays and values on the device: `DeviceBuffers.run_on_device`."""
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
            if not self.captures or is_out_of_memory(error):
                raise
            name = self._settings.source.component
            log.warning("%s: a call with CUDA graphs failed and is repeated without: %s", name, error)
        else:
            return results
        with DEVICE_ACCESS.shared():
            self._buffers, self._session = None, None  # memory may not suffice for two sessions
        self._open(NO_ENGINE, graphs=False)
        return self.run_on_device(outputs, feeds)

    def _open(self, engine: EngineOptions, *, graphs: bool) -> None:
        settings = self._settings
        self._session, self.captures = _open_session(settings, engine, graphs=graphs)
        self.optional = _ports(self._session.get_overridable_initializers())
        if settings.provider == "cpu" and any(port.type == HALF for port in self.optional):
            self._session = None  # memory may not suffice for two sessions
            self._session, _ = _open_session(settings, NO_ENGINE, graphs=False, reuse=False)
        device = DEVICES.get(settings.provider)
        self._buffers = (
            DeviceBuffers(self._session, device, graphs=self.captures, shrinks=self._shrinks) if device else None
        )


def open_session(source: GraphSource, provider: str, options: ProviderOptions = DEFAULTS) -> Any:
    """Return onnxruntime's session of a graph without free choices, which is not captured. Raises its errors."""
    return _open_session(_GraphSettings(source, provider, 1, options), NO_ENGINE, graphs=False)[0]


def _open_session(
    settings: _GraphSettings, engine: EngineOptions, *, graphs: bool, reuse: bool = True
) -> tuple[Any, bool]:
    """Return a session, and whether it captures its calls.

    onnxruntime refuses to capture a graph that has a node outside of CUDA; the session is then opened without capture.
    """
    source, provider, threads, chosen = settings
    providers = _providers(settings, engine, graphs=graphs)
    load_libraries(provider)
    share_arena()
    if DEVICES.get(provider) == "cuda" and not graphs:
        share_device_arena(chosen.arena)
    try:
        with source.open(provider) as content, DEVICE_ACCESS.shared():
            options = session_options(threads, reuse=reuse, axes=engine.axes, shared=not graphs, exact=chosen.exact)
            if chosen.mapped and provider == "cpu":
                keep_weights_mapped(options, content.model)
            if content.folder:
                options.add_session_config_entry(EXTERNAL_DATA_FOLDER, str(content.folder))
            if provider in installed():
                captured = capture_options(provider) if graphs else {}
                check_room(provider, source.weights_bytes, source.label)
                library.add_device(options, provider, {**captured, **cpu_nodes(provider, content.model)})
            session = onnxruntime().InferenceSession(content.model, options, providers, enable_fallback=0)
    except Exception as error:
        if not graphs or isinstance(error, Cancelled):
            raise
        log.warning("%s runs without captured graphs: %s", source.component, error)
        return _open_session(settings, engine, graphs=False)
    if any(values for _, values in providers):
        log.info("%s: %s", source.component, ", ".join(f"{name} {values}" for name, values in providers))
    return session, graphs


def _providers(settings: _GraphSettings, engine: EngineOptions, *, graphs: bool) -> list[tuple[str, dict[str, str]]]:
    """Return onnxruntime's names of the provider and its fallbacks, each with its options; none for a plugin."""
    if settings.provider in installed():
        return []
    options = {
        PROVIDERS["tensorrt"]: dict(engine.options),
        PROVIDERS["cuda"]: cuda_options(graphs=graphs, arena=settings.options.arena),
    }
    return [(name, options.get(name, {})) for name in with_fallbacks(settings.provider)]


def _short_name(wanted: str, actual: str) -> str:
    """Return the short name of the provider that onnxruntime calls `actual`."""
    if wanted in installed() and actual == library.long_name(wanted):
        return wanted
    return next(name for name, long_name in PROVIDERS.items() if long_name == actual)


def _ports(arguments: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments)


def session_options(
    threads: int,
    *,
    reuse: bool = True,
    axes: Mapping[str, int] = MappingProxyType({}),
    shared: bool = True,
    exact: bool = False,
) -> Any:
    """Return onnxruntime's `SessionOptions`.

    Errors are raised as exceptions, so only fatal ones are logged. Without `reuse` no result takes the memory of
    another one within a call. `axes` are lengths of named axes of the inputs: onnxruntime then knows every shape in the
    graph before a provider sees it. A session that is not `shared` has its own arenas: a captured graph writes to
    memory that no other session may use. An `exact` one multiplies int8 weights in float32.
    """
    options = onnxruntime().SessionOptions()
    options.log_severity_level = 4
    # Always a number: with 0 onnxruntime pins its threads to cores, and waits for cores that other processes use.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Memory patterns are kept for each shape, and shapes vary here: they cost 7 % of the peak and save 2 % of the time.
    options.enable_mem_pattern = False
    options.enable_mem_reuse = reuse
    for key, value in ENTRIES.items():
        options.add_session_config_entry(key, value)
    if not shared:
        options.add_session_config_entry("session.use_env_allocators", "0")
    if exact:
        options.add_session_config_entry(ACCURACY_LEVEL, EXACT)
    for name, length in axes.items():
        options.add_free_dimension_override_by_name(name, length)
    return options


def keep_weights_mapped(options: Any, model: Path | bytes) -> None:
    """Let a session on a CPU read its weights from their mapped files, as far as they are stored as it computes.

    Prepacking would copy them into memory, and so would the layout NCHWc, which ORT_ENABLE_ALL adds to
    ORT_ENABLE_EXTENDED. Quantized weights are prepacked: without, calls take 1.4 to 1.7 times as long, and the memory
    is a quarter of float32's.
    """
    options.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_session_config_entry(DISABLE_PREPACKING, "0" if _is_quantized(model) else "1")


def _is_quantized(model: Path | bytes) -> bool:
    content = model if isinstance(model, bytes) else map_file(model)
    return any(content.find(operator) >= 0 for operator in QUANTIZED)


@cache
def share_arena() -> None:
    """Create the CPU arena that all sessions of this process share, once."""
    ort = onnxruntime()
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    try:
        ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT), None)
    except Exception as error:  # noqa: BLE001 - each session then has its own arena, onnxruntime's default
        log.info("sessions share no arena: %s", error)


@cache
def share_device_arena(limit: int) -> None:
    """Create the GPU arena that all sessions without CUDA graphs share, once; at most `limit` bytes (0: no limit).

    Without it every text encoder, denoiser and VAE keeps the memory of its own peak after a call.
    """
    ort = onnxruntime()
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    device = ort.OrtMemoryInfo("Cuda", kind, 0, ort.OrtMemType.DEFAULT)
    config = ort.OrtArenaCfg({"arena_extend_strategy": SAME_AS_REQUESTED, "max_mem": limit})
    try:
        ort.create_and_register_allocator_v2(PROVIDERS["cuda"], device, {}, config)
    except Exception as error:  # noqa: BLE001 - each session then has its own arena
        log.warning("sessions share no memory on the GPU: %s", error)
