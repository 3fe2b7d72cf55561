"""What providers are told: pure functions from the settings to onnxruntime's options, as its documents name them.

What nobody has measured here is left as onnxruntime has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
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

WIDEST = 8
"""Rows that an engine of TensorRT takes at most: the widest call that is tried, see the engine's widths."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Whether calls are captured as CUDA graphs, and the folder that TensorRT's engines are kept in."""

    cuda_graphs: bool = False
    engines: Path = Path("~/.cache/tintype/engines")

    def shown(self, provider: str) -> Options:
        """Return what callers are told of it; the folder of engines is nobody's business."""
        told = {"cuda_graphs": self.captures(provider), "engine_cache": provider == "tensorrt"}
        return {name: "on" for name, on in told.items() if on}

    def captures(self, provider: str) -> bool:
        """Whether a session of `provider` may capture its calls.

        Beside TensorRT none does: an engine that is built meanwhile calls CUDA for minutes, which a capture forbids.
        """
        return self.cuda_graphs and provider == "cuda"


PLAIN = Tuning()


def cuda_options(*, graphs: bool) -> Options:
    """Return the options of CUDAExecutionProvider."""
    return {"enable_cuda_graph": "1"} if graphs else {}


def tensorrt_options(ports: Sequence[Port], shapes: Shapes, folder: Path) -> Options:
    """Return the options of TensorrtExecutionProvider for an engine that takes `shapes`, with any number of rows.

    Every input has a profile: TensorRT wants one for each that is dynamic. Half precision is allowed where the graph
    itself has it.
    """
    profile = {
        f"trt_profile_{bound}_shapes": ",".join(
            f"{port.name}:{'x'.join(map(str, _bound(port, shapes[port.name], bound, _rows(ports))))}"
            for port in ports
            if shapes.get(port.name)
        )
        for bound in ("min", "opt", "max")
    }
    half = any(port.kind == "tensor(float16)" for port in ports)
    caches = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder.parent),  # of all engines: they share kernels
    }
    return {**profile, "trt_fp16_enable": "1" if half else "0", **caches}


def engine_name(path: Path, shapes: Shapes, version: str) -> str:
    """Return the name of the folder of a graph's engine for `shapes`: another one when a file of the graph changes.

    onnxruntime looks only at the name of a graph and its nodes, and asks to clean up after its own updates.
    """
    files = sorted(file for file in path.parent.iterdir() if file.is_file())
    facts = [str(path), version, *(f"{f.name} {f.stat().st_size} {f.stat().st_mtime_ns}" for f in files)]
    facts += [f"{name} {shape[1:]}" for name, shape in sorted(shapes.items())]
    digest = sha256("\n".join(facts).encode()).hexdigest()
    return f"{path.parent.name}-{digest[:16]}"


def _rows(ports: Sequence[Port]) -> object:
    """Return the name of the axis that counts rows: the first of the graph's first input."""
    return next((port.shape[0] for port in ports if port.shape), None)


def _bound(port: Port, shape: tuple[int, ...], bound: str, rows: object) -> tuple[int, ...]:
    if bound == "opt" or not isinstance(rows, str) or port.shape[0] != rows:
        return shape
    return (1 if bound == "min" else max(WIDEST, shape[0]), *shape[1:])
