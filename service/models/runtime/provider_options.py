"""Options of execution providers, under onnxruntime's documented names.

To add an option of CUDA or TensorRT, put it into `cuda_options` or `tensorrt_options` with its reason. If users should
be able to set it, add a field to `ProviderOptions` and to `ServiceConfig` (service/config.py). service/assembly.py
passes it to `ProviderOptions`, `ort` and `tensorrt` pass it to the function.

None of these options was measured on a GPU. Each one has its reason here; all other options keep onnxruntime's
defaults.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from .plugins.table import PLUGINS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .graph import Port

    Options = dict[str, str]
    Shapes = Mapping[str, tuple[int, ...]]

DEVICES = {"cuda": "cuda", "tensorrt": "cuda"} | {
    name: plugin.device for name, plugin in PLUGINS.items() if plugin.device
}
"""Providers whose inputs and outputs stay on a device between calls, with onnxruntime's name of the device.

On a CPU this changed nothing: 0.99 to 1.06 of the time of a plain run, and bit-identical results."""


NVIDIA = ("cuda", "tensorrt")
"""Providers whose memory is an arena with a limit."""

# Bytes of weights on a device for each byte of a component: some are stored twice, in the types of two readers.
WEIGHTS = 1.05

ARENA_SHARE = 8  # of a memory budget, for the intermediate results of one call


class GraphRole(Enum):
    """The use of a graph, as far as a device treats it differently."""

    DENOISER = "called at each step"
    VAE = "called once per image, with the most memory"
    TEXT_ENCODER = "called once per prompt"


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """Settings for graphs on a device.

    `cuda_graphs` captures the denoiser's calls as CUDA graphs; `engines` is the folder of TensorRT's engines; `arena`
    limits the bytes of a session's intermediate results on an NVIDIA GPU (0: no limit). `fixed_shapes` captures a
    plugin's denoiser calls at one frequent shape. On a CPU, `mapped` leaves weights in their mapped files, `exact`
    multiplies int8 weights of exported models in float32, and `kept` is the folder for optimized graphs; None keeps
    none.
    """

    cuda_graphs: bool = True
    engines: Path = Path("~/.cache/tintype/engines")
    arena: int = 0
    mapped: bool = False
    exact: bool = False
    fixed_shapes: bool = False
    kept: Path | None = None

    def public(self, provider: str) -> Options:
        """Return the options that GetModel reports; the folder of engines is not among them."""
        captures, is_cuda = self.captures(provider), provider == "cuda"
        enabled = {
            "cuda_graphs": captures and is_cuda,
            "fixed_shapes": captures and not is_cuda,
            "engine_cache": provider == "tensorrt",
        }
        return {name: "on" for name, on in enabled.items() if on}

    def captures(self, provider: str, role: GraphRole = GraphRole.DENOISER) -> bool:
        """Return whether a session of `provider` captures its calls, as CUDA graphs or in a plugin's way.

        Only denoisers do: other graphs are called too seldom. With TensorRT none does: building an engine calls CUDA
        for minutes, which fails a capture.
        """
        enabled = {"cuda": self.cuda_graphs} | {name: self.fixed_shapes for name in PLUGINS if capture_options(name)}
        return enabled.get(provider, False) and role is GraphRole.DENOISER

    def shrinks(self, role: GraphRole) -> bool:
        """Return whether a graph returns its memory for intermediate results after each call.

        A VAE needs most. With a limit only denoisers keep theirs, which `counted` counts.
        """
        return role is GraphRole.VAE or bool(self.arena and role is not GraphRole.DENOISER)

    def limit(self, weights: int) -> int:
        """Return the limit of the arena of a session with `weights` bytes on an NVIDIA GPU; 0 for no limit.

        onnxruntime reserves weights in the arena and counts them against its limit. Once they exceed it, no limit is
        checked any more (seen with 1.31.1 in an arena on the CPU). So each limited session has an arena of its own.
        """
        return int(weights * WEIGHTS) + self.arena if self.arena else 0

    def counted(self, provider: str, role: GraphRole) -> int:
        """Return the bytes that a graph in memory takes beyond its weights."""
        return self.arena if provider in NVIDIA and role is GraphRole.DENOISER else 0

    def weights_budget(self, memory: int, provider: str) -> int:
        """Return what a budget of `memory` bytes (0: none) leaves for components, beside one running call."""
        return max(memory - self.arena, 1) if memory and provider in NVIDIA else memory


def arena_limit(arena: int, memory: int) -> int:
    """Return the limit of a session's intermediate results for the settings `arena` and `memory` (0: not set)."""
    return arena or memory // ARENA_SHARE


def capture_options(provider: str) -> Options:
    """Return the options with which a plugin captures calls; none if it captures nothing."""
    option = PLUGINS[provider].capture if provider in PLUGINS else ""
    return {option: "1"} if option else {}


DEFAULTS = ProviderOptions()


def cuda_options(*, graphs: bool, arena: int = 0, nhwc: bool = False) -> Options:
    """Return the options of CUDAExecutionProvider. `arena` limits the bytes of its arena, weights included.

    - `cudnn_conv_algo_search`: a convolution keeps cuDNN's plan only for the latest shape, and shapes change with the
      rows of a call. A search by HEURISTIC takes milliseconds; the default, EXHAUSTIVE, takes hundreds of milliseconds
      (microsoft/onnxruntime#23006, PaddlePaddle/PaddleX#5057).
    - `arena_extend_strategy`: the arena grows by the size requested. By default it grows by powers of two, and such
      regions can seldom be returned.
    - `prefer_nhwc`: convolutions get the layout of tensor cores, channels last. Only for graphs whose group norms are
      onnxruntime's operator (`cuda.group_norm`); other norms would transpose to and fro.
    """
    options = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    return (
        options
        | ({"gpu_mem_limit": str(arena)} if arena else {})
        | ({"enable_cuda_graph": "1"} if graphs else {})
        | ({"prefer_nhwc": "1"} if nhwc else {})
    )


def tensorrt_options(ports: Sequence[Port], folder: Path, workspace: int = 0) -> Options:
    """Return the options of TensorrtExecutionProvider, with engines in `folder`.

    Half precision is allowed if the graph itself has it; norms stay in float32, whose squares float16 may not hold. No
    optimization profiles are passed: given one, the provider requires one for each dynamic input of each part of a
    graph that it cuts. `fixed_axes` leaves no dynamic input. `trt_load_user_initializer` passes weights by address;
    by default they are serialized with the graph, which protobuf limits to 2 GB (microsoft/onnxruntime#25409).
    `workspace` limits the bytes of a kernel's scratch memory while an engine is built; 0 leaves TensorRT's default, all
    memory of the device.
    """
    half = any(port.type == "tensor(float16)" for port in ports)
    options = {
        "trt_fp16_enable": "1" if half else "0",
        "trt_layer_norm_fp32_fallback": "1" if half else "0",
        "trt_load_user_initializer": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),  # one for all engines, which share kernels
    }
    return options | ({"trt_max_workspace_size": str(workspace)} if workspace else {})


def fixed_axes(ports: Sequence[Port], shapes: Shapes) -> dict[str, int]:
    """Return the lengths of a graph's named axes for inputs of `shapes`; a name with two lengths is left out."""
    named = {
        (axis, length)
        for port in ports
        if port.name in shapes
        for axis, length in zip(port.shape, shapes[port.name], strict=True)
        if isinstance(axis, str)
    }
    names = [axis for axis, _ in named]
    return {axis: length for axis, length in named if names.count(axis) == 1}
