"""Fused attention under masks against torch's, at lengths and numbers of rows that were not traced."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from tintype.export.errors import VerificationError
from tintype.export.graph.session import GraphSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.torch

HEADS, GROUPS, WIDTH = 4, 2, 12


def _padding(mask: Any, _: Any) -> Any:
    """A boolean mask of keys."""
    return mask.bool()[:, None, None]


def _padding_added(mask: Any, query: Any) -> Any:
    """The mask of diffusers' PixArt, the same for all heads."""
    return ((1 - mask.to(query.dtype)) * -10000)[:, None, None].expand(-1, HEADS, -1, -1)


def _bonus(mask: Any, query: Any) -> Any:
    """Numbers for keys that exclude none."""
    return (mask.to(query.dtype) * 1.5)[:, None, None]


def _causal(mask: Any, query: Any) -> Any:
    """A boolean causal mask of keys that are no padding; with padding on the left, queries see nothing."""
    import torch  # noqa: PLC0415

    places = torch.arange(query.shape[2])
    return (places[None] <= places[:, None])[None, None] & mask.bool()[:, None, None]


def _of_heads(_: Any, query: Any) -> Any:
    """Numbers for each head, query and key, the same for all rows, as T5's positions are."""
    import torch  # noqa: PLC0415

    places = torch.arange(query.shape[2])
    away = (places[None] - places[:, None]).abs().to(query.dtype)
    return -away[None, None] * torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=query.dtype)[None, :, None, None]


MASKS: dict[str, Any] = {
    "padding": _padding,
    "padding_added": _padding_added,
    "bonus": _bonus,
    "causal": _causal,
    "of_heads": _of_heads,
    "unidirectional": None,
}


def attention(make_mask: Callable[[Any, Any], Any] | None, *, scale: float | None = None, layers: int = 2) -> Any:
    """Return a component of layers of attention with grouped keys, under the mask that `make_mask` returns."""
    import torch  # noqa: PLC0415

    from tintype.export.components.component import Component  # noqa: PLC0415
    from tintype.export.components.tensor_specs import TensorSpec, mask  # noqa: PLC0415

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = torch.nn.Linear(16, (HEADS + 2 * GROUPS) * WIDTH)
            self.out = torch.nn.Linear(HEADS * WIDTH, 16)

        def forward(self, x: Any, seen: Any) -> Any:
            heads = self.project(x).unflatten(-1, (-1, WIDTH)).transpose(1, 2)
            query, key, value = heads.split([HEADS, GROUPS, GROUPS], 1)
            result = torch.nn.functional.scaled_dot_product_attention(
                query, key, value, seen, is_causal=seen is None, scale=scale, enable_gqa=True
            )
            return x + self.out(result.transpose(1, 2).flatten(2))

    def call(module: Any, x: Any, mask: Any) -> tuple[Any]:
        seen = make_mask(mask, torch.empty(1, 1, x.shape[1], 1, dtype=x.dtype)) if make_mask else None
        for layer in module:
            x = layer(x, seen)
        return (x * mask.to(x.dtype).sum(),)  # the graph has the mask in any case

    axes = ("batch_size", "sequence_length")
    return Component(
        folder="attention",
        module=torch.nn.ModuleList(Attention() for _ in range(layers)).eval(),
        call=call,
        inputs={"x": TensorSpec((*axes, 16)), "mask": TensorSpec(axes, mask)},
        outputs={"out": TensorSpec((*axes, 16))},
    )


def graph_of(component: Any, path: Path, *, half: bool = False) -> GraphSession:
    """Trace a component with all checks, and write it to `path`."""
    from tintype.export.graph import weights  # noqa: PLC0415
    from tintype.export.graph.component_graph import ComponentGraph  # noqa: PLC0415

    traced = ComponentGraph.trace(component, half=half)
    weights.write(traced.model, component.module.state_dict(), path)
    return GraphSession(path)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("scale", [None, 1.0])
def test_masked_attention_equals_torch(name: str, scale: float | None, tmp_path: Path, *, half: bool) -> None:
    """Every kind of mask, with padding on either side, in one operator for each layer."""
    import torch  # noqa: PLC0415

    from tintype.export.graph.tracing import float16_weights  # noqa: PLC0415

    torch.manual_seed(0)
    component = attention(MASKS[name], scale=scale)
    x = torch.randn(3, 21, 16)
    mask = torch.ones(3, 21, dtype=torch.long)
    mask[1, 13:], mask[2, :8] = 0, 0
    want = component({"x": x, "mask": mask})["out"].numpy()
    if half:
        with float16_weights(component.module):
            graph = graph_of(component, tmp_path / "model.onnx", half=True)
    else:
        graph = graph_of(component, tmp_path / "model.onnx")
    got = graph(x=x.numpy(), mask=mask.numpy())["out"]
    assert np.abs(got - want).max() < (4e-3 if half else 2e-6) * np.abs(want).max()
    counts = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert (counts.count("MultiHeadAttention"), counts.count("Softmax")) == (2, 0)


@pytest.mark.parametrize("name", ["padding", "causal"])
def test_queries_that_see_nothing_give_zeros(name: str, tmp_path: Path) -> None:
    """Like torch's attention, and not the mean of all values."""
    import torch  # noqa: PLC0415

    component = attention(MASKS[name], layers=1)
    graph = graph_of(component, tmp_path / "model.onnx")
    mask = np.ones((2, 9), np.int64)
    mask[0], mask[1, :5] = 0, 0
    x = np.random.default_rng(0).standard_normal((2, 9, 16), np.float32)
    blind = (x[1, :5] + component.module[0].out.bias.detach().numpy()) * mask.sum()
    got = graph(x=x, mask=mask)["out"]
    assert np.isfinite(got).all()
    if name == "causal":
        np.testing.assert_allclose(got[1, :5], blind, atol=1e-5)
    np.testing.assert_allclose(
        got, component({"x": torch.from_numpy(x), "mask": torch.from_numpy(mask)})["out"].numpy(), atol=1e-5
    )


def test_layers_share_the_conversion_of_a_mask(tmp_path: Path) -> None:
    """More layers do not convert a boolean mask again."""
    counts = []
    for layers in (1, 3):
        graph_of(attention(_causal, layers=layers), tmp_path / f"{layers}.onnx")
        counts.append([node.op_type for node in onnx.load(tmp_path / f"{layers}.onnx").graph.node].count("Where"))
    assert counts[0] == counts[1]


def test_attention_that_is_not_fused_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masked attention counts as well as any other."""
    from tintype.export.graph import fused_operators  # noqa: PLC0415

    def separate(query: Any, key: Any, value: Any, seen: Any, *, scale: float | None, **_: Any) -> Any:
        key, value = (x.repeat_interleave(HEADS // GROUPS, 1) for x in (key, value))
        return fused_operators.torch_attention(query, key, value, seen, scale=scale)

    monkeypatch.setattr(fused_operators, "_attention", separate)
    with pytest.raises(VerificationError, match="0 MultiHeadAttention instead of 2"):
        graph_of(attention(_padding), tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["Krea2RMSNorm", "Gemma2RMSNorm"])
def test_a_norm_with_weights_in_float32_keeps_the_inputs_type(name: str) -> None:
    """Krea 2 keeps the weights of its norms in float32, and a layer in half precision follows."""
    import torch  # noqa: PLC0415

    from tintype.export.graph import fused_operators  # noqa: PLC0415

    norm = getattr(fused_operators, name)(8)
    x = torch.randn(2, 8).half()
    expected = norm(x)
    with fused_operators.fuse_operators():
        found = norm(x)
    assert found.dtype is expected.dtype is torch.float16
    assert torch.allclose(found, expected, atol=2e-3)
