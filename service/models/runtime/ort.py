"""Graphs under onnxruntime."""

from __future__ import annotations

import logging
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from .cuda_graphs import DEVICE_ACCESS
from .device_buffers import DeviceBuffers
from .graph import Port, is_out_of_memory
from .provider_options import DEVICES, Use, cuda_options
from .providers import PROVIDERS, chain, make_ready, onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .graph import Values
    from .runtime import Runtime

log = logging.getLogger(__name__)

# On a CPU onnxruntime casts such inputs, and plans the places of the results by the shapes of their defaults: adapters,
# which are larger, are then refused (1.31).
HALF = "tensor(float16)"

SAME_AS_REQUESTED = 1  # an arena grows by what is asked for, not by powers of two

# Entries of the configuration of a session (onnxruntime_session_options_config_keys.h).
ENTRIES = {
    # Threads that spin while they wait take the cores from gRPC and encoding; without, a UNet on two busy cores took
    # 0.85 to 0.98 of the time.
    "session.intra_op.allow_spinning": "0",
    # One arena for all sessions of a device: what one has done with, the next one uses. With the built-in model the
    # process holds 14 % less after a large picture.
    "session.use_env_allocators": "1",
    # Weights stay out of the arena: it would round their sizes up, and keep them when the model goes.
    "session.use_device_allocator_for_initializers": "1",
    # int8 weights are multiplied in float32 (1). By itself onnxruntime rounds what they are multiplied with to int8 as
    # well (4), and takes another way for one row than for many: a picture would be another one in company.
    "session.qdq_matmulnbits_accuracy_level": "1",
}


class Engine(NamedTuple):
    """TensorRT's session settings: provider options and lengths of named axes."""

    options: Mapping[str, str]
    axes: Mapping[str, int]


NO_ENGINE = Engine({}, {})


class OrtGraph:
    """A graph as a session of onnxruntime.

    Raises what onnxruntime raises. `engine` is for TensorRT alone.
    """

    def __init__(self, path: Path, runtime: Runtime, engine: Engine = NO_ENGINE) -> None:
        self._path, self._runtime, self._stop_flag = path, runtime, runtime.stop_flag
        self._session: Any
        self._buffers: DeviceBuffers | None = None
        self.captures = False
        self._open(engine, graphs=runtime.captures)
        self.inputs = _ports(self._session.get_inputs())
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.provider = next(short for short, long in PROVIDERS.items() if long == self._session.get_providers()[0])

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`.

        If a call with CUDA graphs fails, a session without them replaces this one.
        """
        if self._session is None:  # there was no memory for the one without
            self._open(NO_ENGINE, graphs=False)
        if not self._buffers:
            results: list[Values] = self._session.run(list(outputs), dict(feeds), self._stop_flag.options)
            return results
        try:
            return self._buffers.run(outputs, feeds)
        except Exception as error:
            if not self.captures or is_out_of_memory(error):
                raise
            log.warning(
                "%s: a call with CUDA graphs failed, it is made again without: %s", self._path.parent.name, error
            )
        with DEVICE_ACCESS.shared():
            self._buffers, self._session = None, None  # there may be no memory for two
        self._open(NO_ENGINE, graphs=False)
        return self.run(outputs, feeds)

    def _open(self, engine: Engine, *, graphs: bool) -> None:
        path, runtime = self._path, self._runtime
        self._session, self.captures = _opened(path, runtime, engine, graphs=graphs)
        self.optional = _ports(self._session.get_overridable_initializers())
        if runtime.provider == "cpu" and any(port.kind == HALF for port in self.optional):
            self._session = None  # there may be no memory for two
            self._session, _ = _opened(path, runtime, NO_ENGINE, graphs=False, reuse=False)
        device, shrinks = DEVICES.get(runtime.provider), runtime.use is Use.PIXELS
        self._buffers = DeviceBuffers(self._session, device, graphs=self.captures, shrinks=shrinks) if device else None


def _opened(path: Path, runtime: Runtime, engine: Engine, *, graphs: bool, reuse: bool = True) -> tuple[Any, bool]:
    """Return a session, and whether it captures its calls: onnxruntime refuses that where a node is not on CUDA."""
    told = {"tensorrt": dict(engine.options), "cuda": cuda_options(graphs=graphs, arena=runtime.options.arena)}
    names = {PROVIDERS[name]: options for name, options in told.items()}
    providers = [(long, names.get(long, {})) for long in chain(runtime.provider)]
    make_ready(runtime.provider)
    share_arena()
    if runtime.provider in DEVICES and not graphs:
        share_device_arena(runtime.options.arena)
    try:
        with DEVICE_ACCESS.shared():
            asked = options(runtime.threads, reuse=reuse, axes=engine.axes, shared=not graphs)
            made = onnxruntime().InferenceSession(path, asked, providers, enable_fallback=0)
    except Exception as error:
        if not graphs:
            raise
        log.warning("%s runs without CUDA graphs: %s", path.parent.name, error)
        return _opened(path, runtime, engine, graphs=False)
    if any(told for _, told in providers):
        log.info("%s: %s", path.parent.name, ", ".join(f"{long} {told}" for long, told in providers))
    return made, graphs


def _ports(arguments: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments)


def options(
    threads: int, *, reuse: bool = True, axes: Mapping[str, int] = MappingProxyType({}), shared: bool = True
) -> Any:
    """Return onnxruntime's options: its errors reach us as exceptions, so its log says only what is fatal.

    Without `reuse` no result takes the place of another one within a call. Named `axes` of the inputs get a length:
    onnxruntime then knows every shape in the graph before a provider sees it. A session that is not `shared` has arenas
    of its own: what a captured graph writes to must not become another session's.
    """
    made = onnxruntime().SessionOptions()
    made.log_severity_level = 4
    # A count of our own: with 0 onnxruntime pins its threads to cores, and waits for those that others use.
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    # Plans of memory are kept for each shape that was seen, and sizes differ here: 7 % of the peak, 2 % of the time.
    made.enable_mem_pattern = False
    made.enable_mem_reuse = reuse
    for key, value in ENTRIES.items():
        made.add_session_config_entry(key, value)
    if not shared:
        made.add_session_config_entry("session.use_env_allocators", "0")
    for name, length in axes.items():
        made.add_free_dimension_override_by_name(name, length)
    return made


@cache
def share_arena() -> None:
    """Make the arena in the processor's memory that all sessions of this process share."""
    ort = onnxruntime()
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    try:
        ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT), None)
    except Exception as error:  # noqa: BLE001 - then each session has its own, as without
        log.info("sessions share no arena: %s", error)


@cache
def share_device_arena(limit: int) -> None:
    """Make the shared GPU arena of all sessions that capture nothing.

    It takes at most `limit` bytes (0: no limit). Without it each keeps a peak of its own: text encoders, denoisers and
    VAEs, of all models that were called.
    """
    ort = onnxruntime()
    kind = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = ort.OrtMemoryInfo("Cuda", kind, 0, ort.OrtMemType.DEFAULT)
    bounds = ort.OrtArenaCfg({"arena_extend_strategy": SAME_AS_REQUESTED, "max_mem": limit})
    try:
        ort.create_and_register_allocator_v2(PROVIDERS["cuda"], place, {}, bounds)
    except Exception as error:  # noqa: BLE001 - then each session has its own
        log.warning("sessions share no memory on the GPU: %s", error)
