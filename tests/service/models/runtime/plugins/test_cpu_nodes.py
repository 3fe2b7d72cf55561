"""Nodes of operators that a plugin computes wrongly are found in a graph, and named in the plugin's option."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tintype.service.models import graph_writer
from tintype.service.models.files import ModelFileError
from tintype.service.models.graph_writer import field
from tintype.service.models.runtime.plugins import cpu_nodes as module
from tintype.service.models.runtime.plugins import table
from tintype.service.models.runtime.plugins.cpu_nodes import cpu_nodes, node_names
from tintype.service.models.runtime.providers import Probe

if TYPE_CHECKING:
    from pathlib import Path

WRONG = ("MultiHeadAttention",)


def node(operator: str, name: str, *subgraphs: bytes) -> bytes:
    attributes = [field(1, "branch") + field(6, subgraph) for subgraph in subgraphs]
    return graph_writer.node(operator, ("x",), ("y",), {}) + field(3, name) + field(5, *attributes)


def model(*nodes: bytes, functions: bytes = b"") -> bytes:
    return field(1, 8) + field(7, field(1, *nodes)) + functions


def test_nodes_have_their_names(tmp_path: Path) -> None:
    """Those of subgraphs and of local functions, too; from a file and from bytes."""
    inner = field(1, node("MultiHeadAttention", "b"), node("Add", "c"))
    functions = field(25, field(7, node("MultiHeadAttention", "d")))
    content = model(node("MultiHeadAttention", "a"), node("If", "e", inner), functions=functions)
    (tmp_path / "model.onnx").write_bytes(content)
    assert set(node_names(content, WRONG)) == set(node_names(tmp_path / "model.onnx", WRONG)) == {"a", "b", "d"}


def test_a_node_without_a_name_is_refused() -> None:
    """It could not be kept on the CPU."""
    with pytest.raises(RuntimeError, match="a node with the operator MultiHeadAttention must have a name"):
        node_names(model(graph_writer.node("MultiHeadAttention", ("x",), ("y",), {})), WRONG)
    with pytest.raises(ModelFileError, match="not an ONNX graph"):
        node_names(b"\xff\xff", WRONG)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("channels", "found"), [(8, {}), (9, {"forceCpuNodeNames": "first"})])
def test_a_convolution_of_nine_channels(
    monkeypatch: pytest.MonkeyPatch, channels: int, found: dict[str, str], packed: object
) -> None:
    """The first one of UNets for inpainting is named, with its weight's sizes packed or not."""
    monkeypatch.setattr(module, "run_probe", lambda _: Probe(""))
    monkeypatch.setattr(module, "installed", lambda: table.PLUGINS)
    shape = (16, channels, 3, 3)
    sizes = field(1, bytes(shape)) if packed else field(1, *shape)
    first = graph_writer.node("Conv", ("x", "w"), ("y",), {}) + field(3, "first")
    content = field(7, field(1, first, node("Add", "other")) + field(5, sizes + field(8, "w")))
    assert cpu_nodes("webgpu", content) == found
    unnamed = field(7, field(1, graph_writer.node("Conv", ("x", "w"), ("y",), {})) + field(5, sizes + field(8, "w")))
    if found:
        with pytest.raises(RuntimeError, match="a convolution of 9 channels must have a name"):
            cpu_nodes("webgpu", unnamed)


@pytest.mark.parametrize("wrong", [WRONG, ()])
def test_the_option_names_the_nodes(monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, ...]) -> None:
    """Without wrong operators there is no option."""
    monkeypatch.setattr(module, "run_probe", lambda _: Probe("", wrong=wrong))
    monkeypatch.setattr(module, "installed", lambda: table.PLUGINS)
    content = model(node("MultiHeadAttention", "a"), node("MultiHeadAttention", "b"))
    found = cpu_nodes("webgpu", content)
    assert {name: set(nodes.split("\n")) for name, nodes in found.items()} == (
        {"forceCpuNodeNames": {"a", "b"}} if wrong else {}
    )
    if wrong:
        assert cpu_nodes("webgpu", model(node("Add", "a"))) == {}
