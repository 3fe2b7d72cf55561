"""Graphs under OpenVINO's own runtime.

It needs only the package `openvino`. If onnxruntime was built with OpenVINO, that provider is used instead.
It computes in float32: by default OpenVINO takes bfloat16 where the processor has it, which is faster and gives other
images.

A graph compiled for one shape is a quarter faster than one for all shapes. Only one of the two is kept, since each
holds all weights. After HOT calls of one shape in a row the graph is compiled for that shape. A call of another shape
compiles it for all shapes again, and doubles the number of calls required from then on.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import Port

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..graph_source import GraphSource
    from .graph import Values

log = logging.getLogger(__name__)

HOT = 32  # compiling takes as long as hundreds of calls of a small graph, and dozens of a large one

# OpenVINO's names of types, and onnxruntime's.
TYPES = {
    "f32": "tensor(float)",
    "f16": "tensor(float16)",
    "f64": "tensor(double)",
    "i64": "tensor(int64)",
    "i32": "tensor(int32)",
}
Shapes = dict[str, tuple[int, ...]]


def is_installed() -> bool:
    """Return whether the package is installed, without importing it."""
    return find_spec("openvino") is not None


@cache
def core() -> Any:
    """Return OpenVINO's core, one for the process."""
    return import_module("openvino").Core()


class OpenVinoGraph:
    """A graph compiled for the processor, with `threads` per call. Raises OpenVINO's errors."""

    provider = "openvino"
    optional: tuple[Port, ...] = ()  # OpenVINO treats initializers as constants

    def __init__(self, source: GraphSource, threads: int) -> None:
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._source = source
        model = self._read()
        self.inputs = tuple(map(_port, model.inputs))
        self.outputs = tuple(output.any_name for output in model.outputs)
        self._request = self._compile(model)
        self._fixed: Shapes | None = None
        self._last: Shapes = {}
        self._repeats, self._hot = 0, HOT

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        self._fit_shapes({name: array.shape for name, array in feeds.items()})
        self._request.infer(dict(feeds), share_inputs=True)
        return [np.array(self._request.get_tensor(name).data) for name in outputs]

    def _fit_shapes(self, shapes: Shapes) -> None:
        self._repeats = self._repeats + 1 if shapes == self._last else 1
        self._last = shapes
        if self._fixed not in (None, shapes):
            self._request, self._fixed, self._hot = self._compile(self._read()), None, 2 * self._hot
        elif self._fixed is None and self._repeats > self._hot:
            model = self._read()
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._request, self._fixed = self._compile(model), shapes

    def _read(self) -> Any:
        with self._source.open(self.provider) as content:
            return core().read_model(content.model)

    def _compile(self, model: Any) -> Any:
        self._request = None  # frees its memory before the next one takes its own
        return core().compile_model(model, "CPU", self._settings).create_infer_request()


def _port(node: Any) -> Port:
    name = node.element_type.to_string()
    shape = tuple(axis.get_length() if axis.is_static else None for axis in node.partial_shape)
    return Port(node.any_name, TYPES.get(name, name), shape)
