"""What of torch becomes one of onnxruntime's own operators, instead of the dozen nodes that spell it out.

Attention that no mask limits is `MultiHeadAttention`, which never holds the scores of all queries at once: on a CPU a
UNet at 4,096 tokens takes four fifths of the time. Its inputs and its output are [n, tokens, heads * width].
RMS norms are `SimplifiedLayerNormalization`, which computes in float32 whatever its inputs are.
Both have kernels for CPUs and for GPUs. They are written while the graph is traced, not found in it afterwards: there
is no pattern to miss, and how many there must be is known from the module (`export.components.component`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from diffusers.models.normalization import RMSNorm
from torch.nn import functional
from torch.onnx import symbolic_helper
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPSET = 18
ATTENTION = "MultiHeadAttention"
RMS_NORM = "SimplifiedLayerNormalization"
attend = functional.scaled_dot_product_attention


# How RMS norms are called that are written out, each in its own way, instead of calling torch's: weight, eps, bias.
NORMS: dict[type[torch.nn.Module], Callable[[Any], tuple[torch.Tensor | None, float, torch.Tensor | None]]] = {
    RMSNorm: lambda norm: (norm.weight, norm.eps, norm.bias),
    T5LayerNorm: lambda norm: (norm.weight, norm.variance_epsilon, None),
    Gemma2RMSNorm: lambda norm: (1 + norm.weight, norm.eps, None),
}


def rms_norms(module: torch.nn.Module) -> int:
    """Count the RMS norms of a module: so many must be fused."""
    return sum(isinstance(part, (torch.nn.RMSNorm, *NORMS)) for part in module.modules())


@contextlib.contextmanager
def fused() -> Iterator[None]:
    """Trace attention and RMS norms as onnxruntime's operators."""
    forwards = {norm: norm.forward for norm in NORMS}
    torch.onnx.register_custom_op_symbolic("aten::rms_norm", _rms_norm, OPSET)
    functional.scaled_dot_product_attention = _attention
    for norm in NORMS:
        norm.forward = _normed
    try:
        yield
    finally:
        for norm, forward in forwards.items():
            norm.forward = forward
        functional.scaled_dot_product_attention = attend
        torch.onnx.unregister_custom_op_symbolic("aten::rms_norm", OPSET)


def _normed(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Call a norm of `NORMS` as torch's own: in the type of x, [..., width], and to the type of its weight."""
    weight, eps, bias = NORMS[type(norm)](norm)
    made = functional.rms_norm(x, (int(x.shape[-1]),), None if weight is None else weight.to(x.dtype), eps)
    made = made if weight is None else made.to(weight.dtype)
    return made if bias is None else made + bias


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
    """Attention over query, key, value [n, heads, tokens, width]; as torch spells it out where a mask limits it."""
    if attn_mask is not None and attn_mask.dtype == torch.bool:  # which the tracer would always add in float32
        lowest = torch.full((), torch.finfo(query.dtype).min, dtype=query.dtype)
        attn_mask = torch.where(attn_mask, torch.zeros((), dtype=query.dtype), lowest)
    if is_causal or attn_mask is not None:
        return attend(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **grouped)
    return _Attention.apply(query, key, value, int(query.shape[1]), scale)


class _Attention(torch.autograd.Function):
    """Attention that no mask limits, and what it is as nodes of a graph."""

    @staticmethod
    def forward(_: Any, *values: Any) -> torch.Tensor:
        query, key, value, _heads, scale = values
        return attend(query, key, value, scale=scale)

    @staticmethod
    def symbolic(g: Any, *values: Any) -> Any:
        *sequences, heads, scale = values
        flat = [g.op("Reshape", _swapped(g, x), _constant(g, 0, 0, -1)) for x in sequences]
        factor = {} if scale is None else {"scale_f": scale}
        seen = g.op(f"com.microsoft::{ATTENTION}", *flat, num_heads_i=heads, **factor)
        return _swapped(g, g.op("Reshape", seen, _constant(g, 0, 0, heads, -1)))


def _swapped(g: Any, x: Any) -> Any:
    """Take heads for tokens, and tokens for heads."""
    return g.op("Transpose", x, perm_i=[0, 2, 1, 3])


def _constant(g: Any, *numbers: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(numbers))


@symbolic_helper.parse_args("v", "is", "v", "f")
def _rms_norm(g: Any, x: Any, shape: Any, weight: Any, eps: float) -> Any:
    """Norm over the last axes of x, as many as `shape` has."""
    if symbolic_helper._is_none(weight):  # noqa: SLF001 - torch's own way to tell
        weight = g.op("Constant", value_t=torch.ones(shape))
    return g.op(RMS_NORM, x, weight, axis_i=-len(shape), epsilon_f=eps).setType(x.type())
