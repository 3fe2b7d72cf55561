"""Trace attention and RMS norms as onnxruntime's fused operators instead of a dozen nodes each.

Attention without a mask becomes `MultiHeadAttention`, which never holds the scores of all queries at once. With it, a
UNet at 4,096 tokens takes four fifths of the time on a CPU. Its inputs and its output are [n, tokens, heads * width].
RMS norms become `SimplifiedLayerNormalization`, which computes in float32 for any input type.
Both have CPU and GPU kernels. They are written during tracing instead of matched in the finished graph, so no pattern
can be missed. The module gives their expected number (`check_fused`).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.normalization import RMSNorm
from torch.nn import functional
from torch.onnx import symbolic_helper
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from ..errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

    from ..components.component import Component

OPSET = 18
ATTENTION = "MultiHeadAttention"
RMS_NORM = "SimplifiedLayerNormalization"
torch_attention = functional.scaled_dot_product_attention

# RMS norm classes that do not call torch's own function -> their weight, eps and bias.
NORMS: dict[type[torch.nn.Module], Callable[[Any], tuple[torch.Tensor | None, float, torch.Tensor | None]]] = {
    RMSNorm: lambda norm: (norm.weight, norm.eps, norm.bias),
    T5LayerNorm: lambda norm: (norm.weight, norm.variance_epsilon, None),
    Gemma2RMSNorm: lambda norm: (1 + norm.weight, norm.eps, None),
}


def _rms_norms(module: torch.nn.Module) -> int:
    """Return the number of RMS norms in a module: all of them must be fused."""
    return sum(isinstance(part, (torch.nn.RMSNorm, *NORMS)) for part in module.modules())


def check_fused(component: Component, model: onnx.ModelProto) -> None:
    """Raise VerificationError if an operator of the module is not fused: the graph would be correct, but slow."""
    expected = {ATTENTION: component.unmasked_attentions, RMS_NORM: _rms_norms(component.body or component.module)}
    counts = Counter(node.op_type for node in model.graph.node)
    missed = [f"{counts[op]} {op} instead of {count}" for op, count in expected.items() if counts[op] != count]
    if missed:
        raise VerificationError(
            f"{component.folder} has {' and '.join(missed)}: this version of diffusers computes them differently"
        )


@contextlib.contextmanager
def fuse_operators() -> Iterator[None]:
    """Trace attention and RMS norms as onnxruntime's operators while the context is active."""
    forwards = {norm: norm.forward for norm in NORMS}
    torch.onnx.register_custom_op_symbolic("aten::rms_norm", _rms_norm, OPSET)
    functional.scaled_dot_product_attention = _attention
    for norm in NORMS:
        norm.forward = _torch_rms_norm
    try:
        yield
    finally:
        for norm, forward in forwards.items():
            norm.forward = forward
        functional.scaled_dot_product_attention = torch_attention
        torch.onnx.unregister_custom_op_symbolic("aten::rms_norm", OPSET)


def _torch_rms_norm(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute a norm of `NORMS` by torch's function: in the type of x [..., width], returned in the weight's type."""
    weight, eps, bias = NORMS[type(norm)](norm)
    result = functional.rms_norm(x, (int(x.shape[-1]),), None if weight is None else weight.to(x.dtype), eps)
    result = result if weight is None else result.to(weight.dtype)
    return result if bias is None else result + bias


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,  # noqa: FBT001, FBT002
    scale: float | None = None,
    **grouped: Any,
) -> torch.Tensor:
    """Compute attention of query, key, value [n, heads, tokens, width]; with a mask, by torch's function."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # otherwise the tracer adds it in float32
        lowest = torch.full((), torch.finfo(query.dtype).min, dtype=query.dtype)
        attn_mask = torch.where(attn_mask, torch.zeros((), dtype=query.dtype), lowest)
    if is_causal or attn_mask is not None:
        return torch_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **grouped)
    return _Attention.apply(query, key, value, int(query.shape[1]), scale)


class _Attention(torch.autograd.Function):
    """Attention without a mask, with its nodes in a graph."""

    @staticmethod
    def forward(_: Any, *values: Any) -> torch.Tensor:
        query, key, value, _heads, scale = values
        return torch_attention(query, key, value, scale=scale)

    @staticmethod
    def symbolic(g: Any, *values: Any) -> Any:
        *sequences, heads, scale = values
        flat = [g.op("Reshape", _swap_heads(g, x), _constant(g, 0, 0, -1)) for x in sequences]
        factor = {} if scale is None else {"scale_f": scale}
        attended = g.op(f"com.microsoft::{ATTENTION}", *flat, num_heads_i=heads, **factor)
        return _swap_heads(g, g.op("Reshape", attended, _constant(g, 0, 0, heads, -1)))


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return x [n, tokens, heads * width] as [n, tokens, heads, width], by one node in place of nine."""
    split: torch.Tensor = _SplitHeads.apply(x, heads)  # type: ignore[no-untyped-call]
    return split


class _SplitHeads(torch.autograd.Function):
    """Splitting of heads, with its node in a graph."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.unflatten(-1, (heads, -1))

    @staticmethod
    def symbolic(g: Any, x: Any, heads: int) -> Any:
        return g.op("Reshape", x, _constant(g, 0, 0, heads, -1))


def _swap_heads(g: Any, x: Any) -> Any:
    """Exchange the axes of heads and tokens."""
    return g.op("Transpose", x, perm_i=[0, 2, 1, 3])


def _constant(g: Any, *numbers: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(numbers))


@symbolic_helper.parse_args("v", "is", "v", "f")
def _rms_norm(g: Any, x: Any, shape: Any, weight: Any, eps: float) -> Any:
    """Normalise over the last `len(shape)` axes of x."""
    if symbolic_helper._is_none(weight):  # noqa: SLF001 - torch has no public check
        weight = g.op("Constant", value_t=torch.ones(shape))
    return g.op(RMS_NORM, x, weight, axis_i=-len(shape), epsilon_f=eps).setType(x.type())
