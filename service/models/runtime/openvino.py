"""Graphs under OpenVINO's own runtime, for processors of Intel and others that it knows.

Where onnxruntime was built with OpenVINO, its provider of that name runs the graphs; this module needs the package
`openvino` alone. It computes in float32: by itself OpenVINO takes bfloat16 where the processor has it, which is faster
and makes other pictures.

A graph for one shape is a quarter faster than one for all. There is one or the other, as both would take the memory of
both: after HOT calls of one shape in a row it is compiled for that shape, and for all again when another one comes,
from then on after twice as many.
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
    from pathlib import Path

    from .graph import Values
    from .runtime import Runtime

log = logging.getLogger(__name__)

HOT = 32  # compiling takes as long as some hundred calls of a small graph, and some dozen of a large one

# OpenVINO's words for types, and onnxruntime's.
KINDS = {
    "f32": "tensor(float)",
    "f16": "tensor(float16)",
    "f64": "tensor(double)",
    "i64": "tensor(int64)",
    "i32": "tensor(int32)",
}
Shapes = dict[str, tuple[int, ...]]


def installed() -> bool:
    """Whether the package is there; asking does not import it."""
    return find_spec("openvino") is not None


@cache
def core() -> Any:
    """Return OpenVINO's core, one for the process."""
    return import_module("openvino").Core()


class OpenVinoGraph:
    """A graph compiled for the processor. Raises what OpenVINO raises."""

    provider = "openvino"
    optional: tuple[Port, ...] = ()  # initializers are constants to it

    def __init__(self, path: Path, runtime: Runtime) -> None:
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": runtime.threads,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._path = path
        model = core().read_model(path)
        self.inputs = tuple(map(_port, model.inputs))
        self.outputs = tuple(output.any_name for output in model.outputs)
        self._request = self._compiled(model)
        self._fixed: Shapes | None = None
        self._last: Shapes = {}
        self._row, self._hot = 0, HOT

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Values]) -> list[Values]:
        """Compute `outputs`."""
        self._suit({name: array.shape for name, array in feeds.items()})
        self._request.infer(dict(feeds), share_inputs=True)
        return [np.array(self._request.get_tensor(name).data) for name in outputs]

    def _suit(self, shapes: Shapes) -> None:
        self._row = self._row + 1 if shapes == self._last else 1
        self._last = shapes
        if self._fixed not in (None, shapes):
            self._request, self._fixed, self._hot = self._compiled(core().read_model(self._path)), None, 2 * self._hot
        elif self._fixed is None and self._row > self._hot:
            model = core().read_model(self._path)
            model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._request, self._fixed = self._compiled(model), shapes

    def _compiled(self, model: Any) -> Any:
        self._request = None  # it goes before the next one comes
        return core().compile_model(model, "CPU", self._settings).create_infer_request()


def _port(node: Any) -> Port:
    kind = node.element_type.to_string()
    shape = tuple(axis.get_length() if axis.is_static else None for axis in node.partial_shape)
    return Port(node.any_name, KINDS.get(kind, kind), shape)
