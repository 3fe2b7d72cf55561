"""Exports for GPUs suit TensorRT: one engine holds a whole graph, as the service rewrites it.

The provider cuts around nodes unknown to TensorRT's parser, and fails if a part has an input with a dynamic axis and no
profile. It cuts the graph after onnxruntime's first optimization level, which a CPU produces too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tintype.service.models.graph_source import GraphContent
from tintype.service.models.runtime.graph import Port
from tintype.service.models.runtime.provider_options import fixed_axes
from tintype.service.models.runtime.providers import onnxruntime
from tintype.service.models.runtime.rewriting.loading import rewritten
from tintype.service.models.runtime.session_options import session_options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

pytestmark = pytest.mark.torch

FAMILIES = ("sd15", "sdxl", "sd3", "flux_schnell", "pixart_sigma", "sana")

# Operators of our exports without an importer in TensorRT's parser, which has standard operators and its own plugins
# (github.com/onnx/onnx-tensorrt, docs/operators.md), but none of these of onnxruntime (microsoft/onnxruntime,
# docs/ContribOperators.md). NVIDIA/TensorRT#3558: "No importer registered for op: MultiHeadAttention".
UNKNOWN = frozenset({"MultiHeadAttention", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"})
# Standard operators that the same page lists as unsupported.
UNSUPPORTED = frozenset({"BitShift", "Compress", "Det", "Hardmax", "Mod", "NonZero", "OneHot", "Unique"})
SHAPES = frozenset({"Shape", "Size"})  # a value computed from shapes is also a dynamic input of a part
LENGTHS = {"batch_size": 2}  # other axes are 16


def axes(session: Any) -> dict[str, int]:
    """Return the axes that the TensorRT path fixes for a call with two rows."""
    ports = session.get_inputs()
    fed = {port.name: tuple(_length(axis) for axis in port.shape) for port in ports}
    return fixed_axes([_port(port) for port in ports], fed)


def _length(axis: int | str) -> int:
    return axis if isinstance(axis, int) else LENGTHS.get(axis, 16)


def _port(argument: Any) -> Port:
    return Port(argument.name, argument.type, tuple(argument.shape))


def open_session(model: Any, fixed: Mapping[str, int], written: Path | None = None) -> Any:
    """Open a graph at the optimization level that a provider sees."""
    ort = onnxruntime()
    asked = session_options(1, axes=fixed)
    asked.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if written:
        asked.optimized_model_filepath = str(written)
    return ort.InferenceSession(model, asked, providers=["CPUExecutionProvider"])


def dynamic_values(model: Any, fixed: Mapping[str, int]) -> list[str]:
    """Return the values of a graph whose shape is unknown to onnxruntime with some axes fixed."""
    import onnx  # noqa: PLC0415

    named = {output.name for output in model.graph.output}
    values = [name for node in model.graph.node for name in node.output if name and name not in named]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in values)
    session = open_session(shown.SerializeToString(), fixed)
    there = [*session.get_outputs(), *session.get_inputs()]
    return [value.name for value in there if not all(isinstance(axis, int) for axis in value.shape)]


@pytest.mark.parametrize("family", FAMILIES)
def test_no_part_has_a_dynamic_shape(exported: Callable[..., Path], family: str, tmp_path: Path) -> None:
    """With fixed axes every value of every graph has one shape, no node computes shapes, and TensorRT knows all."""
    import onnx  # noqa: PLC0415

    paths = sorted(exported(family, "fp16", "--target", "gpu").glob("*/model.onnx"))
    assert paths
    for path in paths:
        fixed, content = axes(open_session(path, {})), rewritten(GraphContent(path), "tensorrt").content.model
        model = onnx.load_from_string(content) if isinstance(content, bytes) else onnx.load(content)
        assert dynamic_values(model, fixed) == [], path
        open_session(content, fixed, tmp_path / "seen.onnx")
        seen = {node.op_type for node in onnx.load(tmp_path / "seen.onnx").graph.node}
        assert not seen & (SHAPES | UNSUPPORTED | UNKNOWN), path
        assert not [node for node in model.graph.node if node.domain not in ("", "ai.onnx")], path


@pytest.mark.parametrize("family", ["sd15", "sdxl", "sd3", "flux_schnell"])
def test_without_fixed_axes_a_part_has_a_dynamic_shape(exported: Callable[..., Path], family: str) -> None:
    """Outputs of nodes unknown to TensorRT are inputs of the next part, and some of them are dynamic."""
    import onnx  # noqa: PLC0415

    folder = exported(family, "fp16", "--target", "gpu")
    model = onnx.load(
        next(folder / part / "model.onnx" for part in ("unet", "transformer") if (folder / part).is_dir())
    )
    cut = {name for node in model.graph.node if node.op_type in UNKNOWN for name in node.output}
    assert cut
    assert cut & set(dynamic_values(model, {}))


def test_only_optional_inputs_are_dynamic(exported: Callable[..., Path]) -> None:
    """The rank of adapters and the number of images' tokens are dynamic; the provider determines them at run time."""
    import onnx  # noqa: PLC0415

    path = exported("sd15", "fp16", "--target", "gpu", "--with-lora") / "unet/model.onnx"
    fixed, model = axes(open_session(path, {})), onnx.load(path)
    session = open_session(path, {})
    assert {axis for port in session.get_overridable_initializers() for axis in port.shape if isinstance(axis, str)}
    optional = (".lora.", "/attn2/Expand")  # keys and values of images, for each row
    assert all(any(part in name for part in optional) for name in dynamic_values(model, fixed))
