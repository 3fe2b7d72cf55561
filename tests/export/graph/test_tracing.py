"""Traced graphs: rows at different timesteps, and fused operators against their separate nodes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from tintype.export.graph.session import GraphSession
from tintype.service.models.graph_source import OnnxFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("family", ["sd15", "sd21"])
def test_rows_at_different_steps_equal_single_calls_exactly(exported: Callable[..., Path], family: str) -> None:
    """Batching depends on it: other rows at other steps do not change one bit of a row, at any size."""
    unet = GraphSession(exported(family) / "unet" / "model.onnx")
    random = np.random.default_rng(0)
    for height, width in ((16, 16), (8, 24)):
        rows = {
            "sample": random.standard_normal((3, 4, height, width), np.float32),
            "timestep": np.array([999.0, 500.5, 1.0], np.float32),
            "encoder_hidden_states": random.standard_normal((3, 77, 32), np.float32),
        }
        together = unet(**rows)["out_sample"]
        alone = [unet(**{name: value[[i]] for name, value in rows.items()})["out_sample"] for i in range(3)]
        np.testing.assert_array_equal(together, np.concatenate(alone))
        shuffled = unet(**rows | {"timestep": rows["timestep"][::-1]})["out_sample"]
        assert np.abs(shuffled - together).max() > 0.01, "the timestep must change the result"


@pytest.mark.parametrize(("exact", "limit"), [(True, 1e-5), (False, 1e-2)])
@pytest.mark.parametrize("family", ["sd15", "sd3", "flux_schnell"])
def test_rows_of_int8_weights_do_not_depend_on_the_batch(
    family: str, exported: Callable[..., Path], *, exact: bool, limit: float
) -> None:
    """Exact sessions: up to float32's rounding. By default later layers may round that to other int8 numbers."""
    from tintype.service.models.runtime.ort import OrtGraph  # noqa: PLC0415
    from tintype.service.models.runtime.provider_options import ProviderOptions  # noqa: PLC0415

    folder = exported(family, "int8") / ("unet" if family == "sd15" else "transformer")
    options, random = ProviderOptions(exact=exact), np.random.default_rng(0)
    graph = OrtGraph(OnnxFile(folder / "model.onnx"), "cpu", 1, options=options)
    lengths: dict[Any, Any] = {
        "batch_size": 3,
        "height": 16,
        "width": 16,
        "sequence_length": 77,
        "packed_height_width": 64,
    }
    shapes: dict[str, list[Any]] = {
        port.name: [lengths.get(axis, axis) for axis in port.shape] for port in graph.inputs
    }
    rows = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    each = [{n: rows[n] if n.endswith("_ids") else rows[n][[i]] for n in rows} for i in range(3)]
    together, *alone = (graph.run(graph.outputs, feeds)[0] for feeds in (rows, *each))
    assert np.abs(together - np.concatenate(alone)).max() < limit * np.abs(together).max()


def test_one_timestep_applies_to_all_rows(exported: Callable[..., Path]) -> None:
    """A timestep [1] is broadcast over the batch."""
    unet = GraphSession(exported("sd15") / "unet" / "model.onnx")
    rows = {
        "sample": np.ones((2, 4, 8, 8), np.float32),
        "encoder_hidden_states": np.ones((2, 77, 32), np.float32),
    }
    spread = unet(**rows, timestep=np.array([7.0], np.float32))["out_sample"]
    np.testing.assert_array_equal(spread, unet(**rows, timestep=np.array([7.0, 7.0], np.float32))["out_sample"])


@pytest.mark.parametrize("family", ["sdxl", "sd35", "flux_dev", "pixart_sigma", "sana"])
def test_fused_operators_equal_separate_nodes(
    family: str, exported: Any, pipelines: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Onnxruntime's operators equal the separate nodes, at two sizes, with one row and with three."""
    from tintype.export import pipeline, source  # noqa: PLC0415
    from tintype.export.components import registry  # noqa: PLC0415
    from tintype.export.graph import control_inputs, tracing, weights  # noqa: PLC0415
    from tintype.export.verify import SIZES  # noqa: PLC0415

    path = exported(family)  # before the operators are replaced
    found = source.find_source(str(pipelines(family)))
    (denoiser,) = registry.components(pipeline.PipelineReader(found).read_whole(), found.family, found.family.denoiser)

    def separate_nodes() -> contextlib.AbstractContextManager[None]:
        _separate_norm_nodes(monkeypatch)
        return contextlib.nullcontext()

    monkeypatch.setattr(tracing, "fuse_operators", separate_nodes)
    model = tracing.trace(denoiser)
    control_inputs.remove(model, denoiser.residuals)
    weights.write(model, denoiser.module.state_dict(), tmp_path / "plain.onnx")
    paths = [path / denoiser.folder / "model.onnx", tmp_path / "plain.onnx"]
    graphs = [GraphSession(path) for path in paths]
    assert operators(paths[0]) - operators(paths[1])
    for seed, size in enumerate(SIZES):
        inputs = {name: value.numpy() for name, value in denoiser.example_inputs(size, seed).items()}
        (fused,), (plain,) = (list(graph(**inputs).values()) for graph in graphs)
        np.testing.assert_allclose(fused, plain, atol=1e-5 * np.abs(plain).max())


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def _separate_norm_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute torch's RMS norm, which the tracer does not support, by other operators."""
    import torch  # noqa: PLC0415

    def forward(norm: Any, x: Any) -> Any:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.eps) * norm.weight

    monkeypatch.setattr(torch.nn.RMSNorm, "forward", forward)
