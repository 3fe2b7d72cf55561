"""Trace attention and RMS norms as onnxruntime's fused operators instead of a dozen nodes each.

Attention becomes `MultiHeadAttention`, whose inputs and output are [n, tokens, heads * width]. Without a mask it never
holds the scores of all queries at once: a UNet at 4,096 tokens takes four fifths of the time on a CPU. Masks:

- A mask of keys alone, the same for all queries, is computed by the product of queries and keys: queries get columns
  of ones, keys columns of the mask. So it has the kernels of attention without a mask. At 1,152 tokens it takes 0.75 of
  the time of separate nodes on a CPU; the operator's own `key_padding_mask` takes 0.82, and holds all scores.
- Any other mask is added to the scores, as `attention_bias`. Causal attention without a mask is `unidirectional`.

A query that a boolean mask lets see no key gives zeros, as in torch.

RMS norms become `SimplifiedLayerNormalization`, which computes in float32 for any input type.
Both have CPU and GPU kernels. They are written during tracing instead of matched in the finished graph, so no pattern
can be missed. The module gives their expected number (`check_fused`).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from diffusers.models.normalization import RMSNorm
from diffusers.models.transformers.transformer_krea2 import Krea2RMSNorm
from diffusers.pipelines.kolors.text_encoder import RMSNorm as ChatGlmNorm
from torch.nn import functional
from torch.onnx import symbolic_helper
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.ministral3.modeling_ministral3 import Ministral3RMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from ..errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

    from ..components.component import Component

OPSET = 18
ATTENTION = "MultiHeadAttention"
RMS_NORM = "SimplifiedLayerNormalization"
torch_attention = functional.scaled_dot_product_attention
# Columns that a mask of keys adds to queries and keys: kernels of GPUs need widths that are multiples of 8.
COLUMNS = 8

Norm = Callable[[Any], tuple[torch.Tensor | None, float, torch.Tensor | None]]
# Classes of RMS norms of language models, which have a weight.
LANGUAGE_NORMS = (
    MistralRMSNorm,
    Ministral3RMSNorm,
    Qwen2_5_VLRMSNorm,
    Qwen3RMSNorm,
    Qwen3VLTextRMSNorm,
    T5LayerNorm,
)
# RMS norm classes that do not call torch's own function -> their weight, eps and bias.
NORMS: dict[type[torch.nn.Module], Norm] = {
    RMSNorm: lambda norm: (norm.weight, norm.eps, norm.bias),
    ChatGlmNorm: lambda norm: (norm.weight, norm.eps, None),
    Krea2RMSNorm: lambda norm: (1 + norm.weight, norm.eps, None),
    Gemma2RMSNorm: lambda norm: (1 + norm.weight, norm.eps, None),
    **dict.fromkeys(LANGUAGE_NORMS, lambda norm: (norm.weight, norm.variance_epsilon, None)),
}

# Norms whose result has the type of x even if their weight stays in float32.
TYPED_BY_INPUT = (Krea2RMSNorm, Gemma2RMSNorm)


def _rms_norms(module: torch.nn.Module) -> int:
    """Return the number of RMS norms in a module: all of them must be fused."""
    return sum(isinstance(part, (torch.nn.RMSNorm, *NORMS)) for part in module.modules())


def check_fused(component: Component, model: onnx.ModelProto) -> None:
    """Raise VerificationError if an operator of the module is not fused: the graph would be correct, but slow."""
    expected = {ATTENTION: component.attentions, RMS_NORM: _rms_norms(component.body or component.module)}
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
        _masks.clear()
        torch.onnx.unregister_custom_op_symbolic("aten::rms_norm", OPSET)


def _torch_rms_norm(norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute a norm of `NORMS` by torch's function: in the type of x [..., width], returned as the class does."""
    weight, eps, bias = NORMS[type(norm)](norm)
    result = functional.rms_norm(x, (int(x.shape[-1]),), None if weight is None else weight.to(x.dtype), eps)
    result = result if weight is None or isinstance(norm, TYPED_BY_INPUT) else result.to(weight.dtype)
    return result if bias is None else result + bias


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,  # noqa: FBT001, FBT002
    scale: float | None = None,
    enable_gqa: bool = False,  # noqa: FBT001, FBT002
) -> torch.Tensor:
    """Compute attention of query, key, value [n, heads, tokens, width] like torch's function, as one operator.

    `attn_mask` [n, heads or 1, queries or 1, keys] is bool, or is added to the scores. If it depends on queries, its
    first axis may be 1.
    """
    heads = int(query.shape[1])
    options = _Options(heads, scale, groups=int(key.shape[1]) if enable_gqa else heads, causal=is_causal)
    if attn_mask is None:
        return _Attention.apply(query, key, value, None, None, options)
    added, seen = _added_mask(attn_mask, query.dtype)
    if int(attn_mask.shape[2]) == 1:
        factor = int(query.shape[-1]) ** -0.5 if scale is None else scale
        columns = (added / (COLUMNS * factor)).clamp(min=_lowest(query.dtype))
        options = options._replace(scale=factor, rows=int(columns.shape[1]))
        result = _Attention.apply(query, key, value, None, columns, options)
    else:
        result = _Attention.apply(query, key, value, added, None, options)
    return result if seen is None else result * seen


def _added_mask(mask: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return what is added to the scores, and for a boolean mask whether a query sees any key, 0 or 1 in `dtype`.

    All layers that share a mask share the results.
    """
    if mask.dtype != torch.bool:
        return mask.to(dtype), None
    if (id(mask), dtype) not in _masks:
        added = torch.where(mask, torch.zeros((), dtype=dtype), torch.full((), _lowest(dtype), dtype=dtype))
        _masks[id(mask), dtype] = mask, added, mask.any(-1, keepdim=True).to(dtype)
    return _masks[id(mask), dtype][1:]


# Boolean masks of the traced graph, by id and type, with their results; they are kept, so that no id is used again.
_masks: dict[tuple[int, torch.dtype], tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}


def _lowest(dtype: torch.dtype) -> float:
    """Return a number that excludes a key, and whose sum with scores, or with COLUMNS of it, is finite."""
    return torch.finfo(dtype).min / 64


class _Options(NamedTuple):
    """Numbers of attention: of the heads of queries and of keys, of the columns' heads; whether it is causal."""

    heads: int
    scale: float | None
    groups: int
    rows: int = 1
    causal: bool = False


class _Attention(torch.autograd.Function):
    """Attention, with its nodes in a graph.

    `added` [n or 1, heads or 1, queries, keys] is added to the scores, and so is `columns` [n, heads or 1, 1, keys]
    times COLUMNS and the scale.
    """

    @staticmethod
    def forward(_: Any, *values: Any) -> torch.Tensor:
        query, key, value, added, columns, options = values
        mask = columns * (COLUMNS * options.scale) if columns is not None else added
        gqa = options.groups < options.heads
        return torch_attention(query, key, value, mask, is_causal=options.causal, scale=options.scale, enable_gqa=gqa)

    @staticmethod
    def symbolic(g: Any, *values: Any) -> Any:
        query, key, value, added, columns, (heads, scale, groups, rows, causal) = values
        repeated = [partial(_repeat_heads, heads=heads, groups=groups)] if groups < heads else []
        ones, marked = [], []
        if not _is_none(columns):
            ones, marked = [_with_ones], [partial(_with_columns, columns=columns, repeats=heads // rows)]
        inputs = [_flat(g, query, *ones), _flat(g, key, *repeated, *marked), _flat(g, value, *repeated)]
        if not _is_none(added):
            absent = g.op("prim::Constant")
            absent.setType(torch._C.OptionalType.ofTensor())  # noqa: SLF001 - torch has no public type
            inputs += [absent, absent, added]
        options = {} if scale is None else {"scale_f": scale}
        options |= {"unidirectional_i": 1} if causal else {}
        attended = g.op(f"com.microsoft::{ATTENTION}", *inputs, num_heads_i=heads, **options)
        return _swap_heads(g, g.op("Reshape", attended, _constant(g, 0, 0, heads, -1)))


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Return x [n, tokens, heads * width] as [n, tokens, heads, width], by one node in place of nine."""
    split: torch.Tensor = _SplitHeads.apply(x, heads)
    return split


class _SplitHeads(torch.autograd.Function):
    """Splitting of heads, with its node in a graph."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.unflatten(-1, (heads, -1))

    @staticmethod
    def symbolic(g: Any, x: Any, heads: int) -> Any:
        return g.op("Reshape", x, _constant(g, 0, 0, heads, -1))


def join_heads(x: torch.Tensor) -> torch.Tensor:
    """Return x [n, tokens, heads, width] as [n, tokens, heads * width], by one node in place of five."""
    joined: torch.Tensor = _JoinHeads.apply(x)
    return joined


class _JoinHeads(torch.autograd.Function):
    """Joining of heads, with its node in a graph."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2)

    @staticmethod
    def symbolic(g: Any, x: Any) -> Any:
        return g.op("Reshape", x, _constant(g, 0, 0, -1))


def _flat(g: Any, x: Any, *steps: Callable[[Any, Any], Any]) -> Any:
    """Return x [n, heads, tokens, width] as [n, tokens, heads * width].

    The steps take and return [n, tokens, heads, width].
    """
    x = _swap_heads(g, x)
    for step in steps:
        x = step(g, x)
    return g.op("Reshape", x, _constant(g, 0, 0, -1))


def _repeat_heads(g: Any, x: Any, *, heads: int, groups: int) -> Any:
    """Return `groups` heads [n, tokens, groups, width], each as often as there are `heads` for it."""
    repeated = g.op("Tile", g.op("Unsqueeze", x, _constant(g, 3)), _constant(g, 1, 1, 1, heads // groups, 1))
    return g.op("Reshape", repeated, _constant(g, 0, 0, heads, -1))


def _with_ones(g: Any, query: Any) -> Any:
    """Add columns of ones to a query [n, queries, heads, width]."""
    one = g.op("Constant", value_t=torch.ones((), dtype=query.type().dtype()))
    return g.op("Pad", query, _constant(g, *[0] * 7, COLUMNS), one)


def _with_columns(g: Any, key: Any, *, columns: Any, repeats: int) -> Any:
    """Add columns [n, heads or 1, 1, keys], each COLUMNS times, to a key [n, keys, heads, width]."""
    columns = g.op("Transpose", columns, perm_i=[0, 3, 1, 2])
    return g.op("Concat", key, g.op("Tile", columns, _constant(g, 1, 1, repeats, COLUMNS)), axis_i=3)


def _swap_heads(g: Any, x: Any) -> Any:
    """Exchange the axes of heads and tokens."""
    return g.op("Transpose", x, perm_i=[0, 2, 1, 3])


def _is_none(value: Any) -> bool:
    return value is None or symbolic_helper._is_none(value)  # noqa: SLF001 - torch has no public check


def _constant(g: Any, *numbers: int) -> Any:
    return g.op("Constant", value_t=torch.tensor(numbers))


@symbolic_helper.parse_args("v", "is", "v", "f")
def _rms_norm(g: Any, x: Any, shape: Any, weight: Any, eps: float) -> Any:
    """Normalise over the last `len(shape)` axes of x."""
    if _is_none(weight):
        weight = g.op("Constant", value_t=torch.ones(shape))
    return g.op(RMS_NORM, x, weight, axis_i=-len(shape), epsilon_f=eps).setType(x.type())
