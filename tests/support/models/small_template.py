"""A small graph with every way in which graphs read weights, as a template, and its answer computed by NumPy.

`sample` [n, 8] passes LayerNormalization, MatMul through Transpose, Gemm, a 1 x 1 convolution and MatMul again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tintype.service.models.templates.onnx_pb2 import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from tintype.service.models.weights.number_formats import convert, numpy_type
from tintype.service.models.weights.pieces import ComponentWeights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from tintype.service.models.templates.archive import Variant

    Arrays = Mapping[str, NDArray[Any]]

SHAPES: dict[str, tuple[int, ...]] = {
    "norm.weight": (8,),
    "norm.bias": (8,),
    "up.weight": (12, 8),
    "up.bias": (12,),
    "mid.weight": (16, 12),
    "mid.bias": (16,),
    "conv.weight": (6, 16, 1, 1),
    "conv.bias": (6,),
    "down.weight": (4, 6),
}
SAMPLE = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: int | list[int]) -> NodeProto:
    """Return a node; `inputs` are names with spaces between them."""
    made = NodeProto(op_type=op, name=output, input=inputs.split(), output=[output])
    for name, value in attributes.items():
        if isinstance(value, list):
            made.attribute.add(name=name, ints=value, type=AttributeProto.INTS)
        else:
            made.attribute.add(name=name, i=value, type=AttributeProto.INT)
    return made


def nodes() -> list[NodeProto]:
    """Return the nodes of the graph."""
    return [
        node("LayerNormalization", "sample norm.weight norm.bias", "normed", axis=-1),
        node("Transpose", "up.weight", "up.turned", perm=[1, 0]),
        node("MatMul", "normed up.turned", "up.product"),
        node("Add", "up.product up.bias", "up"),
        node("Gemm", "up mid.weight mid.bias", "mid", transB=1),
        node("Reshape", "mid image_shape", "image"),
        node("Conv", "image conv.weight conv.bias", "conv"),
        node("Flatten", "conv", "flat"),
        node("Transpose", "down.weight", "down.turned", perm=[1, 0]),
        node("MatMul", "flat down.turned", "out"),
    ]


def template_model(shapes: Mapping[str, tuple[int, ...]] = SHAPES, kind: int = TensorProto.FLOAT) -> ModelProto:
    """Return the graph with weights that have no numbers."""
    model = ModelProto(ir_version=9, graph=GraphProto(name="small", node=nodes()))
    model.opset_import.add(version=18)
    for name, shape in shapes.items():
        tensor = model.graph.initializer.add(name=name, dims=shape, data_type=kind)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights")
    numbers = np.array([-1, 16, 1, 1], np.int64).tobytes()
    model.graph.initializer.add(name="image_shape", dims=[4], data_type=TensorProto.INT64, raw_data=numbers)
    for ports, name, width in ((model.graph.input, "sample", 8), (model.graph.output, "out", 4)):
        tensor_type = ports.add(name=name).type.tensor_type
        tensor_type.elem_type = kind
        tensor_type.shape.dim.add(dim_param="n")
        tensor_type.shape.dim.add(dim_value=width)
    return model


@dataclass(frozen=True)
class SmallTemplate:
    """The template; `reads` are the variants that were read."""

    name: str = "small"
    kind: str = "unet"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: SHAPES)
    reads: list[Variant] = field(default_factory=list)
    config: Mapping[str, Any] = field(default_factory=dict)

    def read(self, variant: Variant) -> bytes:
        """Return the serialized graph."""
        self.reads.append(variant)
        kind = TensorProto.FLOAT16 if variant.half else TensorProto.FLOAT
        return template_model(self.shapes, kind).SerializeToString()


def draw(dtype: str = "F32", shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, NDArray[Any]]:
    """Return random weights as numbers of a stored format, which NumPy may read as integers."""
    generator = np.random.default_rng(0)
    return {name: encode(generator.standard_normal(shape) / 2, dtype) for name, shape in shapes.items()}


def encode(numbers: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return numbers in a stored format; bfloat16 and 8-bit floats are cut, not rounded."""
    if dtype in ("F32", "F16"):
        return numbers.astype(numpy_type(dtype))
    if dtype == "BF16":
        return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if dtype == "F8_E5M2":
        return (numbers.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)
    table = convert(np.arange(256, dtype=np.uint8), dtype)
    return (
        np.abs(np.nan_to_num(table, nan=1e9)[:, None] - numbers.reshape(-1))
        .argmin(0)
        .astype(np.uint8)
        .reshape(numbers.shape)
    )


def write_stored(path: Path, tensors: Mapping[str, tuple[str, NDArray[Any]]], *, odd: int = 0) -> Path:
    """Write a safetensors file of arrays with their formats; the header's length is a multiple of 8, plus `odd`."""
    header, at = {}, 0
    for name, (dtype, array) in tensors.items():
        header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8 + odd)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(array.tobytes() for _, array in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def write_weights(path: Path, dtype: str = "F32", shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> ComponentWeights:
    """Write random weights in a format; return them as a component's."""
    tensors = {name: (dtype, array) for name, array in draw(dtype, shapes).items()}
    return ComponentWeights((write_stored(path, tensors),))


def answer(dtype: str = "F32", *, rounded: bool = False) -> NDArray[np.float64]:
    """Return what the graph with the weights of `draw` answers to SAMPLE, computed in float64."""
    precision = np.float16 if rounded else np.float32
    w = {name: convert(array, dtype, precision).astype(np.float64) for name, array in draw(dtype).items()}
    x = SAMPLE.astype(np.float64)
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * w["norm.weight"] + w["norm.bias"]
    x = x @ w["up.weight"].T + w["up.bias"]
    x = x @ w["mid.weight"].T + w["mid.bias"]
    x = x @ w["conv.weight"].reshape(6, 16).T + w["conv.bias"]
    result: NDArray[np.float64] = x @ w["down.weight"].T
    return result


def numbers(shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> int:
    """Return how many numbers the weights have."""
    return sum(math.prod(shape) for shape in shapes.values())
