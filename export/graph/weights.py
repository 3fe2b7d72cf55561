"""How weights are stored beside a graph: in which precision, and in which file.

A graph comes here with its weights as inputs (`.tracing`) and leaves with each of them as an initializer, written
one after the other, so that no second copy of a model is ever in memory.

`as_half` stores float16 and casts to float32 before anything else: the file is half as large and the arithmetic is the
same; only what float16 holds exactly is stored so (`export.pipeline` rounds the weights first).
`as_int8` stores int8 with a scale for each output, a quarter of the size; what is lost is measured by the verification.
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

# Elements: smaller tensors weigh nothing, and scales and biases stay as they are.
SMALLEST = 512
# Bytes of weights from which they get a file of their own: such a graph loads in 1.06 times its size, not 1.9.
EXTERNAL_FROM = 100 * 2**20
# Bytes of a tensor that is worth a place in that file, and to which places are aligned, so that it can be mapped.
WORTH_A_PLACE, PAGE = 1024, 4096
DATA = "_data"
# The axis of outputs of a weight, by the operator that reads it; each output gets a scale of its own.
OUTPUTS = {"MatMul": 1, "Gemm": 0, "Conv": 0, "Gather": 0}
LARGEST = 127


def as_it_is(name: str, weight: Array, _: str) -> Stored:
    """Store a weight as it is."""
    return {name: weight}, []


def as_half(name: str, weight: Array, _: str) -> Stored:
    """Store a large float32 weight that float16 holds exactly as float16, cast back under its old name."""
    if weight.dtype != np.float32 or weight.size < SMALLEST:
        return {name: weight}, []
    with np.errstate(over="ignore"):
        halved = weight.astype(np.float16)
    if not np.array_equal(halved.astype(np.float32), weight):
        return {name: weight}, []
    cast = helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT)
    return {f"{name}.half": halved}, [cast]


def as_int8(name: str, weight: Array, reader: str) -> Stored:
    """Store a large matrix or kernel as int8, with a scale for each output; what is no such thing as it is."""
    if reader not in OUTPUTS or weight.ndim < 2 or weight.size < SMALLEST:
        return {name: weight}, []
    axis = OUTPUTS[reader]
    others = tuple(place for place in range(weight.ndim) if place != axis)
    scale = np.abs(weight).max(others, keepdims=True).astype(np.float32) / LARGEST
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
    store: Store = as_it_is,
    external_from: int = EXTERNAL_FROM,
) -> int:
    """Write the traced graph `model` with its weights to `path`; return the bytes on disk.

    Weights are those inputs of the graph that `parameters` names. Together `external_from` bytes or more of them get a
    file of their own beside the graph.
    """
    weights = list(_weights(model.graph, parameters))
    size = sum(weight.value.nbytes for weight in weights)
    data = path.with_name(path.name + DATA)
    data.unlink(missing_ok=True)
    if size < external_from:
        _attach(model.graph, weights, store, numpy_helper.from_array)
    else:
        with data.open("wb") as file:
            _attach(model.graph, weights, store, _Places(file, data.name).tensor)
    onnx.save(model, path)
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


@dataclass(frozen=True, slots=True)
class _Weight:
    """A parameter, and the operator that reads it; `turned` if all that read it want its transpose."""

    name: str
    value: Array
    reader: str
    turned: bool

    def array(self) -> Array:
        return np.ascontiguousarray(self.value.T if self.turned else self.value)


def _weights(graph: onnx.GraphProto, parameters: Mapping[str, torch.Tensor]) -> Iterator[_Weight]:
    """Take the weights from the graph's inputs, and the nodes that do nothing but transpose them."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    stands_for: dict[str, str] = {}
    for entry in [entry for entry in graph.input if entry.name in parameters]:
        reading, value = readers[entry.name], parameters[entry.name].detach().numpy()
        turned = value.ndim == 2 and all(node.op_type == "Transpose" for node in reading)
        if turned:
            stands_for |= {node.output[0]: entry.name for node in reading}
            reading = [reader for node in reading for reader in readers[node.output[0]]]
        graph.input.remove(entry)
        yield _Weight(entry.name, value, reading[0].op_type if reading else "", turned)
    _pass_over(graph, stands_for)


def _pass_over(graph: onnx.GraphProto, stands_for: dict[str, str]) -> None:
    """Drop the nodes that make the keys, and read the values instead."""
    kept = [node for node in graph.node if node.output[0] not in stands_for]
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        node.input[:] = [stands_for.get(name, name) for name in node.input]


def _attach(
    graph: onnx.GraphProto, weights: list[_Weight], store: Store, tensor: Callable[[Array, str], TensorProto]
) -> None:
    nodes: list[NodeProto] = []
    for weight in weights:
        stored, made = store(weight.name, weight.array(), weight.reader)
        graph.initializer.extend(tensor(array, name) for name, array in stored.items())
        nodes += made
    nodes += graph.node
    del graph.node[:]
    graph.node.extend(nodes)


@dataclass(slots=True)
class _Places:
    """Writes tensors one after the other to `file`, which graphs know as `name`."""

    file: Any
    name: str
    end: int = field(default=0)

    def tensor(self, array: Array, name: str) -> TensorProto:
        """Write a tensor, and return what the graph says of it; small ones stay in the graph."""
        if array.nbytes < WORTH_A_PLACE:
            return numpy_helper.from_array(array, name)
        self.end += self.file.write(bytes(-self.end % PAGE))
        place = {"location": self.name, "offset": str(self.end), "length": str(array.nbytes)}
        self.end += self.file.write(array.data.cast("B"))
        said = TensorProto(
            name=name,
            dims=array.shape,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        said.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in place.items())
        return said
