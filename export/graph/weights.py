"""Store the weights of a graph: their precision, and the file that holds them.

A traced graph has its weights as inputs (`graph.tracing`). They become initializers, written one after the other, so
that memory never holds a second copy of the model.

`as_float16` stores float16 and a cast to float32: half the size and the same arithmetic. Only weights that float16
holds exactly are stored this way (`pipeline` rounds them first).
`as_int8` stores int8 with a scale for each output: a quarter of the size. The verification measures the loss.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import torch

    Array = np.ndarray[Any, np.dtype[Any]]
    Stored = tuple[dict[str, Array], list[NodeProto]]
    Store = Callable[[str, Array, str], Stored]

# Smaller tensors, such as scales and biases, are stored unchanged.
MIN_ELEMENTS = 512
# Bytes of all weights from which they go to an external file: loading then takes 1.06 times their size, not 1.9.
EXTERNAL_FROM = 100 * 2**20
# Smaller tensors stay in the graph. Tensors in the file begin at a page (bytes), so that they can be mapped.
MIN_EXTERNAL_BYTES, PAGE = 1024, 4096
DATA_SUFFIX = "_data"
# Operator -> the axis of the outputs in its weight; each output has its own scale.
OUTPUT_AXES = {"MatMul": 1, "Gemm": 0, "Conv": 0, "Gather": 0}
INT8_MAX = 127


def unchanged(name: str, weight: Array, _: str) -> Stored:
    """Store a weight unchanged."""
    return {name: weight}, []


def as_float16(name: str, weight: Array, _: str) -> Stored:
    """Store a large float32 weight as float16, if that is exact, with a cast that restores its name and type."""
    if weight.dtype != np.float32 or weight.size < MIN_ELEMENTS:
        return {name: weight}, []
    with np.errstate(over="ignore"):
        halved = weight.astype(np.float16)
    if not np.array_equal(halved.astype(np.float32), weight):
        return {name: weight}, []
    cast = helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
    return {f"{name}.half": halved}, [cast]


def as_int8(name: str, weight: Array, reader: str) -> Stored:
    """Store a large matrix or kernel as int8 with a scale for each output; other weights unchanged."""
    if reader not in OUTPUT_AXES or weight.ndim < 2 or weight.size < MIN_ELEMENTS:
        return {name: weight}, []
    axis = OUTPUT_AXES[reader]
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = np.abs(weight).max(others, keepdims=True).astype(np.float32) / INT8_MAX
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    names, wide = [f"{name}.int8", f"{name}.scale"], name if weight.dtype == np.float32 else f"{name}.wide"
    nodes = [helper.make_node("DequantizeLinear", names, [wide], name=f"{name}.dequantized", axis=axis)]
    if wide != name:  # scales are float32 at this opset
        narrow = helper.np_dtype_to_tensor_dtype(weight.dtype)
        nodes.append(helper.make_node("Cast", [wide], [name], name=f"{name}.cast", to=narrow))
    return {names[0]: np.rint(weight / scale).astype(np.int8), names[1]: scale.ravel()}, nodes


def write(
    model: ModelProto,
    parameters: Mapping[str, torch.Tensor],
    path: Path,
    *,
    store: Store = unchanged,
    external_from: int = EXTERNAL_FROM,
) -> int:
    """Write the traced graph `model` with its weights to `path`; return the bytes on disk.

    The weights are the graph's inputs that `parameters` names. If they have `external_from` bytes or more in all, they
    are written to an external file next to the graph.
    """
    weights = list(_weights(model.graph, parameters))
    size = sum(weight.value.nbytes for weight in weights)
    data = path.with_name(path.name + DATA_SUFFIX)
    data.unlink(missing_ok=True)
    if size < external_from:
        _attach(model.graph, weights, store, numpy_helper.from_array)
    else:
        with data.open("wb") as file:
            _attach(model.graph, weights, store, _ExternalData(file, data.name).tensor)
    onnx.save(model, path)
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


@dataclass(frozen=True, slots=True)
class _Weight:
    """A parameter and the operator that reads it; `transposed` if all its readers use its transpose."""

    name: str
    value: Array
    reader: str
    transposed: bool

    def array(self) -> Array:
        return np.ascontiguousarray(self.value.T if self.transposed else self.value)


def _weights(graph: onnx.GraphProto, parameters: Mapping[str, torch.Tensor]) -> Iterator[_Weight]:
    """Remove the weights from the graph's inputs and yield them; remove the nodes that only transpose them."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    sources: dict[str, str] = {}
    for entry in [entry for entry in graph.input if entry.name in parameters]:
        reading, value = readers[entry.name], parameters[entry.name].detach().numpy()
        transposed = value.ndim == 2 and all(node.op_type == "Transpose" for node in reading)
        if transposed:
            sources |= {node.output[0]: entry.name for node in reading}
            reading = [reader for node in reading for reader in readers[node.output[0]]]
        graph.input.remove(entry)
        yield _Weight(entry.name, value, reading[0].op_type if reading else "", transposed)
    _bypass(graph, sources)


def _bypass(graph: onnx.GraphProto, sources: dict[str, str]) -> None:
    """Remove the nodes that produce the keys of `sources`; their readers read the values instead."""
    kept = [node for node in graph.node if node.output[0] not in sources]
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        node.input[:] = [sources.get(name, name) for name in node.input]


def _attach(
    graph: onnx.GraphProto, weights: list[_Weight], store: Store, tensor: Callable[[Array, str], TensorProto]
) -> None:
    nodes: list[NodeProto] = []
    for weight in weights:
        stored, added = store(weight.name, weight.array(), weight.reader)
        graph.initializer.extend(tensor(array, name) for name, array in stored.items())
        nodes += added
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)


@dataclass(slots=True)
class _ExternalData:
    """Writes tensors one after the other to `file`, to which graphs refer as `name`."""

    file: Any
    name: str
    end: int = field(default=0)

    def tensor(self, array: Array, name: str) -> TensorProto:
        """Write a tensor and return its entry in the graph; a small tensor is stored in the graph itself."""
        if array.nbytes < MIN_EXTERNAL_BYTES:
            return numpy_helper.from_array(array, name)
        self.end += self.file.write(bytes(-self.end % PAGE))
        location = {"location": self.name, "offset": str(self.end), "length": str(array.nbytes)}
        self.end += self.file.write(array.data.cast("B"))
        entry = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        entry.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in location.items())
        return entry
