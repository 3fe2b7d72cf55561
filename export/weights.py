"""How weights are stored beside a graph: in which precision, and in which file.

`fp16` halves the file and loses nothing more than the rounding of the weights: a weight is stored as float16 only if
float16 holds it exactly (`export.pipeline` rounds them first), and the first thing in the graph casts it back. The
casts are folded when onnxruntime loads the graph, so the arithmetic, and every input and output, is float32 on every
provider. Graphs that compute in float16 are another matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

HALF = ".half"
# Elements: smaller tensors weigh nothing, and scales and biases stay as they are.
SMALLEST_HALVED = 512
# Bytes of weights from which they get a file of their own: such a graph loads in 1.06 times its size, not 1.9.
EXTERNAL_FROM = 100 * 2**20
DATA = "_data"


def store(path: Path, *, half: bool, external_from: int = EXTERNAL_FROM) -> int:
    """Write the graph at `path` anew, as float16 if `half`, large weights beside it; return its bytes on disk."""
    model = onnx.load(path)
    if half:
        halve(model)
    data = path.with_name(path.name + DATA)
    data.unlink(missing_ok=True)
    path.unlink()
    if _weight_bytes(model) < external_from:
        onnx.save(model, path)
    else:
        onnx.save(model, path, save_as_external_data=True, location=data.name, size_threshold=1024)
        data.chmod(path.stat().st_mode)  # onnx makes it its owner's alone
    return path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def halve(model: ModelProto) -> None:
    """Store every large float32 initializer that float16 holds exactly as float16, cast back under its old name."""
    graph = model.graph
    casts = [_halved(weight) for weight in graph.initializer if _fits_half(weight)]
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _fits_half(weight: TensorProto) -> bool:
    if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALLEST_HALVED:
        return False
    values = numpy_helper.to_array(weight)
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))


def _halved(weight: TensorProto) -> onnx.NodeProto:
    name = weight.name
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name + HALF))
    return helper.make_node("Cast", [name + HALF], [name], name=f"{name}.cast", to=TensorProto.FLOAT)


def _weight_bytes(model: ModelProto) -> int:
    widths = {TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.INT64: 8}
    return int(sum(np.prod(w.dims) * widths.get(w.data_type, 4) for w in model.graph.initializer))
