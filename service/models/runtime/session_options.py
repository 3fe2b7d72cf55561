"""Options of onnxruntime's sessions: threads, memory, and how weights are stored and multiplied; their shared arena."""

from __future__ import annotations

import logging
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..graph_writer import FLOAT, GraphWriter
from ..wire_format import map_file
from .providers import PROVIDERS, onnxruntime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"
DISABLE_PREPACKING = "session.disable_prepacking"
OPTIMIZED = "session.optimized_model_"
SMALLEST_APART = 1024  # bytes of a weight that is written beside its graph

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


NO_ENGINE = EngineOptions(MappingProxyType({}), MappingProxyType({}))


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


def write_optimized(options: Any, graph: Path, weights: str) -> None:
    """Let a session write its optimized graph, and the weights in the layouts of its kernels to the file `weights`.

    The graph then holds for this processor and this version of onnxruntime alone.
    """
    options.optimized_model_filepath = str(graph)
    options.add_session_config_entry(OPTIMIZED + "external_initializers_file_name", weights)
    options.add_session_config_entry(OPTIMIZED + "external_initializers_min_size_in_bytes", str(SMALLEST_APART))
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")


def keep_as_written(options: Any) -> None:
    """Let a session take a graph of `write_optimized` as it is."""
    options.graph_optimization_level = onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL


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


def shrink_arena() -> None:
    """Free what the shared arena holds for no running call, in milliseconds. Raises onnxruntime's errors.

    The arena keeps the memory of the largest call: with the built-in model 181 MB of the process after eight images of
    320x256 in one call, and 77 MB afterwards. onnxruntime frees it only at the end of a call, of any session.
    """
    if share_arena.cache_info().currsize:
        session, options = _smallest_session()
        session.run(None, {}, options)


@cache
def _smallest_session() -> tuple[Any, Any]:
    """Return a session of a graph that copies one number, and the options of a run that shrinks the arena."""
    graph = GraphWriter("shrink")
    graph.output("one", graph.apply("Identity", graph.constant([1.0])), FLOAT, (1,))
    options = onnxruntime().RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return onnxruntime().InferenceSession(graph.content(), session_options(1), providers=[PROVIDERS["cpu"]]), options
