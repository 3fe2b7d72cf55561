"""Embedding tables beside quantized layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from tests.support.models.small_template import encode, node, write_stored
from tintype.service.models.loading_options import LoadingOptions, Precision
from tintype.service.models.templates.filling import fill_template
from tintype.service.models.templates.onnx_pb2 import GraphProto, ModelProto, TensorProto
from tintype.service.models.weights import quantizing
from tintype.service.models.weights.number_formats import convert
from tintype.service.models.weights.pieces import ComponentWeights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tintype.service.models.templates.archive import Variant
    from tintype.service.models.templates.filled_template import FilledTemplate

SHAPES = {"table.weight": (50, 16), "up.weight": (12, 16)}
IDS = np.array([[3, 0, 49], [7, 7, 1]])


class Tables:
    """The template of a graph that reads rows of a table, and multiplies them by a matrix."""

    name, kind = "tables", "clip"
    config: dict[str, Any] = {}  # noqa: RUF012

    def read(self, variant: Variant) -> bytes:
        """Return the serialized graph."""
        kind = TensorProto.FLOAT16 if variant.half else TensorProto.FLOAT
        nodes = [
            node("Gather", "table.weight ids", "rows", axis=0),
            node("Transpose", "up.weight", "turned", perm=[1, 0]),
            node("MatMul", "rows turned", "out"),
        ]
        model = ModelProto(ir_version=9, graph=GraphProto(name="tables", node=nodes))
        model.opset_import.add(version=18)
        for name, shape in SHAPES.items():
            tensor = model.graph.initializer.add(name=name, dims=shape, data_type=kind)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights")
        for ports, name, number in ((model.graph.input, "ids", TensorProto.INT64), (model.graph.output, "out", kind)):
            tensor_type = ports.add(name=name).type.tensor_type
            tensor_type.elem_type = number
            for axis in ("n", "tokens", "width")[: 2 + (name == "out")]:
                tensor_type.shape.dim.add(dim_param=axis)
        return model.SerializeToString()


@pytest.fixture(autouse=True)
def _small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small matrices be quantized, and small tables be halved."""
    monkeypatch.setattr(quantizing, "SMALLEST", 50)
    monkeypatch.setattr(quantizing, "LARGE_TABLE", 50)


def fill(path: Path, dtype: str, precision: str) -> tuple[FilledTemplate, dict[str, NDArray[np.float32]]]:
    """Return the filled template, and its weights as float32."""
    random = np.random.default_rng(0)
    stored = {name: (dtype, encode(random.standard_normal(shape) / 2, dtype)) for name, shape in SHAPES.items()}
    weights = ComponentWeights((write_stored(path / "m.safetensors", stored),))
    options = LoadingOptions(cache=path / "cache", precision=Precision(precision))
    numbers = {name: convert(array, dtype).astype(np.float32) for name, (_, array) in stored.items()}
    return fill_template(Tables(), "text_encoder", weights, options, adapters=False), numbers


def run(source: FilledTemplate, provider: str = "cpu") -> tuple[NDArray[np.float32], ModelProto]:
    """Return the answer of the graph for `provider`, computed on the CPU, and the graph."""
    with source.open(provider) as content:
        data = content.model if isinstance(content.model, bytes) else content.model.read_bytes()
        options = onnxruntime.SessionOptions()
        folder = content.folder or source.files[0].parent
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        (result,) = session.run(None, {"ids": IDS})
    return result, ModelProto.FromString(data)


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_large_tables_are_float16_beside_quantized_layers(tmp_path: Path, dtype: str, precision: str) -> None:
    """Their rows become float32 when they are read. They count as what they take; the card says what was done."""
    source, numbers = fill(tmp_path, dtype, precision)
    result, model = run(source)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["table.weight"] == TensorProto.FLOAT16
    rows = numbers["table.weight"].astype(np.float16).astype(np.float32)[IDS]
    wanted = rows @ numbers["up.weight"].T
    assert np.linalg.norm(result - wanted) < (0.02 if precision == "int8" else 0.15) * np.linalg.norm(wanted)
    sizes = {
        tensor.name: [int(e.value) for e in tensor.external_data if e.key == "length"]
        for tensor in model.graph.initializer
    }
    assert source.weights_bytes == sum(size for (size,) in sizes.values())
    card = (source.card("cpu") or {})["quantization"]
    assert card["kept"] == {"table.weight": "embedding table, in float16"}
    assert card["bytes_after"] == source.weights_bytes


@pytest.mark.parametrize(("provider", "dtype", "precision"), [("cpu", "BF16", "auto"), ("cuda", "F16", "int4")])
def test_tables_are_as_the_graph_reads_them_otherwise(
    tmp_path: Path, provider: str, dtype: str, precision: str
) -> None:
    """Without quantized layers numbers are exact; graphs in float16 have float16 tables anyway."""
    source, _ = fill(tmp_path, dtype, precision)
    with source.open(provider) as content:
        model = ModelProto.FromString(content.model if isinstance(content.model, bytes) else content.model.read_bytes())
    assert "Cast" not in [each.op_type for each in model.graph.node]
    number = 4 if provider == "cpu" else 2
    if precision == "auto":
        assert source.bytes_on(provider) == number * (50 * 16 + 12 * 16)


def test_small_tables_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CLIP's, which do not pay."""
    monkeypatch.setattr(quantizing, "LARGE_TABLE", 50 * 16 + 1)
    source, _ = fill(tmp_path, "BF16", "int8")
    _, model = run(source)
    assert next(each.data_type for each in model.graph.initializer if each.name == "table.weight") == TensorProto.FLOAT
