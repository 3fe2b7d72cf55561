"""What is rewritten when a graph is loaded, and what stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.models.onnx_files import FLOAT, external, field, graph, model, node, value
from tintype.service.models.files import ModelFileError
from tintype.service.models.graph_source import GraphContent, OnnxFile
from tintype.service.models.runtime.ort import OrtGraph
from tintype.service.models.runtime.rewriting import loading, sample
from tintype.service.models.runtime.rewriting.bfloat16 import BFLOAT16
from tintype.service.models.runtime.rewriting.loading import rewritten
from tintype.service.models.runtime.runtime import Runtime
from tintype.service.models.runtime.session import Session

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("provider", ["cpu", "webgpu", "tensorrt", ""])
def test_a_graph_without_the_provider_s_operators_stays(tmp_path: Path, provider: str) -> None:
    """The file itself is opened then, whose weights can be mapped."""
    path = tmp_path / "model.onnx"
    path.write_bytes(sample.resnet_block())
    content = GraphContent(path)
    assert rewritten(content, provider) == (content, 0)


def test_weights_stay_in_the_graphs_folder(tmp_path: Path) -> None:
    """A rewritten graph is in memory; names of its external data remain relative to the folder of its file."""
    path = tmp_path / "unet/model.onnx"
    path.parent.mkdir()
    path.write_bytes(sample.resnet_block())
    content, replaced = rewritten(GraphContent(path), "cuda")
    assert replaced == 2
    assert content.folder == path.parent
    assert rewritten(GraphContent(sample.resnet_block(), tmp_path), "cuda").content.folder == tmp_path


def test_a_file_that_is_too_large_is_not_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be in memory three times."""
    content = GraphContent(sample.resnet_block())
    monkeypatch.setattr(loading, "MOST_BYTES", len(content.model) - 1)  # type: ignore[arg-type] # bytes
    assert rewritten(content, "cuda") == (content, 0)


def test_a_damaged_file_is_refused() -> None:
    """One that was cut off; onnxruntime says so of one that is damaged within."""
    content = sample.resnet_block()
    with pytest.raises(ModelFileError, match="not an ONNX graph, or was cut off"):
        rewritten(GraphContent(content[:-100]), "cuda")


def write_bfloat16(folder: Path) -> OnnxFile:
    """Write y = x * w in bfloat16, with w = 1.5 in external data."""
    (folder / "data").write_bytes((np.array([1.5], np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes())
    weight = external("w", (1,), "data", kind=BFLOAT16, size=2)
    wide = [node("Cast", [name], [f"{name}32"], field(1, "to") + field(3, FLOAT) + field(20, 2)) for name in "xw"]
    narrow = node("Cast", ["product"], ["y"], field(1, "to") + field(3, BFLOAT16) + field(20, 2))
    nodes = [*wide, node("Mul", ["x32", "w32"], ["product"]), narrow]
    ends = [value(name, BFLOAT16, ["n"]) for name in "xy"]
    (folder / "model.onnx").write_bytes(model(graph("g", nodes, ends[:1], ends[1:], [weight])))
    return OnnxFile(folder / "model.onnx")


def test_graphs_take_and_return_bfloat16(tmp_path: Path) -> None:
    """Arrays are float32: numpy has no such type. The graph computes what it did, and its results are rounded."""
    source = write_bfloat16(tmp_path)
    graph_ = OrtGraph(source, "cpu", 1)
    assert [(port.name, port.type) for port in graph_.inputs] == [("x", "tensor(float)")]
    x = np.array([1, 2.5, 1 + 2**-6, 3e38], np.float32)
    assert np.array_equal(
        Session(source, Runtime("cpu", 1)).run("y", x=x)[:3], np.array([1.5, 3.75, 1.5234375], np.float32)
    )


def test_other_graphs_are_not_parsed_for_bfloat16(tmp_path: Path) -> None:
    """Weights in bfloat16 inside of a graph need no change."""
    source = write_bfloat16(tmp_path)
    content = source.path.read_bytes()
    ends = [value(name, BFLOAT16, ["n"]) for name in "xy"]
    for end in ends:
        content = content.replace(end, end.replace(field(1, BFLOAT16), field(1, FLOAT)))
    assert rewritten(GraphContent(content), "cpu") == (GraphContent(content), 0)
