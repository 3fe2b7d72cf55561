"""What providers are told: pure functions from the settings to onnxruntime's options, as its documents name them.

No GPU has measured them; each setting has its reason next to it, and all others are onnxruntime's defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .graph import Port

    Options = dict[str, str]
    Shapes = Mapping[str, tuple[int, ...]]

DEVICES = {"cuda": "cuda", "tensorrt": "cuda"}
"""Providers whose inputs and outputs stay on a device between calls, and onnxruntime's word for it.

On a CPU it made no difference: 0.99 to 1.06 of the time of a plain run, and the same bits."""


class Use(Enum):
    """The purpose of a graph, where it matters to a device."""

    STEPS = "the denoiser, which is called at each step"
    PIXELS = "a VAE, whose calls need the most memory, once for an image"
    OTHER = "a text encoder"


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """How graphs run on a device.

    `cuda_graphs` has calls of denoisers captured, `engines` is the folder of TensorRT's engines, and `arena` bounds the
    bytes of intermediate results on a GPU (0: no limit).
    """

    cuda_graphs: bool = True
    engines: Path = Path("~/.cache/tintype/engines")
    arena: int = 0

    def shown(self, provider: str) -> Options:
        """Return what callers are told of it; the folder of engines is nobody's business."""
        told = {"cuda_graphs": self.captures(provider), "engine_cache": provider == "tensorrt"}
        return {name: "on" for name, on in told.items() if on}

    def captures(self, provider: str, use: Use = Use.STEPS) -> bool:
        """Whether a session of `provider` may capture its calls.

        Only denoisers capture, since other graphs are called too seldom. Beside TensorRT none does: an engine that is
        built meanwhile calls CUDA for minutes, which a capture forbids.
        """
        return self.cuda_graphs and provider == "cuda" and use is Use.STEPS


PLAIN = ProviderOptions()


def cuda_options(*, graphs: bool, arena: int = 0) -> Options:
    """Return the options of CUDAExecutionProvider.

    A convolution keeps cuDNN's plan for the latest shape alone, and shapes change with the rows of a call. Searching
    for a plan by HEURISTIC takes milliseconds where the default, EXHAUSTIVE, takes hundreds
    (microsoft/onnxruntime#23006, PaddlePaddle/PaddleX#5057). Memory grows by what is asked for: regions of the default,
    powers of two, can seldom be given back.
    """
    told = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return told | ({"gpu_mem_limit": str(arena)} if arena else {}) | ({"enable_cuda_graph": "1"} if graphs else {})


def tensorrt_options(ports: Sequence[Port], folder: Path) -> Options:
    """Return the options of TensorrtExecutionProvider.

    Half precision is allowed where the graph itself has it. There are no profiles: with one, the provider wants one for
    each dynamic input of each part that it cuts the graph into, and it cuts around every node that TensorRT does not
    know. `fixed_axes` leaves no dynamic input.
    """
    half = any(port.kind == "tensor(float16)" for port in ports)
    return {
        "trt_fp16_enable": "1" if half else "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),  # of all engines: they share kernels
    }


def fixed_axes(ports: Sequence[Port], shapes: Shapes) -> dict[str, int]:
    """Return the lengths of a graph's named axes when fed `shapes`.

    A name that has two lengths stays free.
    """
    named = {
        (axis, length)
        for port in ports
        if port.name in shapes
        for axis, length in zip(port.shape, shapes[port.name], strict=True)
        if isinstance(axis, str)
    }
    names = [axis for axis, _ in named]
    return {axis: length for axis, length in named if names.count(axis) == 1}
