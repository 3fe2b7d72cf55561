"""Run exported graphs for verification, and list their inputs and layers. The service has its own runtime."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort

from tintype.service.models.runtime.session_options import ARITHMETIC

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

# Names of weights in a graph, for each precision (`graph.weights`).
WEIGHT = re.compile(r"(.+)\.weight(?:\.half|\.int8)?")
TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
}


class GraphSession:
    """The graph at `path` on the CPU; a call takes inputs by name and returns outputs by name."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        for key, value in ARITHMETIC.items():  # the service's settings that change results
            options.add_session_config_entry(key, value)
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._types = {i.name: TYPES[i.type] for i in self._session.get_inputs()}
        self._outputs = [o.name for o in self._session.get_outputs()]

    @property
    def inputs(self) -> dict[str, list[int | str]]:
        """The shape of each input; a dynamic axis is a name."""
        return {i.name: list(i.shape) for i in self._session.get_inputs()}

    def __call__(self, **inputs: Floats | npt.NDArray[np.int64]) -> dict[str, Floats]:
        """Run the graph; inputs are cast to the graph's types."""
        feeds = {name: np.ascontiguousarray(inputs[name], dtype=kind) for name, kind in self._types.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds), strict=True))


def optional_inputs(path: Path) -> dict[str, list[int | str]]:
    """Return the shapes of a graph's inputs that have a default, by name; external weights are not read."""
    graph = onnx.load(path, load_external_data=False).graph
    defaults = {initializer.name for initializer in graph.initializer}
    inputs = (entry for entry in graph.input if entry.name in defaults)
    return {
        entry.name: [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim] for entry in inputs
    }


def layers_of(path: Path) -> set[str]:
    """Return the module's names of a graph's layers.

    Names come from weights and from nodes, because the tracer keeps only one of several equal weights.
    """
    graph = onnx.load(path, load_external_data=False).graph
    found = (WEIGHT.fullmatch(initializer.name) for initializer in graph.initializer)
    nodes = (node.name.split("/") for node in graph.node)
    return {name[1] for name in found if name} | {".".join(names[2:-1]) for names in nodes if len(names) > 3}
