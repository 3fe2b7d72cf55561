"""Attention of Z-Image and Lumina-Image 2 in a form that can be traced, with or without a mask."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn import functional

from .fused_operators import split_heads

if TYPE_CHECKING:
    from collections.abc import Iterator

# Attention's and the feed-forward's results exceed float16's 65504 (Tongyi-MAI/Z-Image issue 14). In float16 graphs
# they are scaled down; the norm after them undoes it.
ATTENTION_SCALE, FEED_FORWARD_SCALE = 1 / 16, 1 / 64


class Rotation(NamedTuple):
    """Cosine and sine [n, tokens, 1, width] of the places of tokens, and the matrix that turns pairs of numbers.

    A product with that matrix is exact, and traced as one node; slices of every other number are traced as a dozen.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    turn: torch.Tensor

    def split(self, at: int) -> tuple[Rotation, Rotation]:
        """Return the rotations of the first `at` tokens, and of the others."""
        first, second = (
            Rotation(self.cos[:, tokens], self.sin[:, tokens], self.turn)
            for tokens in (slice(None, at), slice(at, None))
        )
        return first, second

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Rotate pairs of neighbours in x [n, tokens, heads, width], in float32."""
        return (x.float() * self.cos + (x @ self.turn).float() * self.sin).to(x.dtype)


def rotation(places: torch.Tensor, config: Any, dtype: torch.dtype) -> Rotation:
    """Return the rotation of tokens at `places` [n, tokens, 3], float32, for queries and keys of a type."""
    theta = config.get("rope_theta", 10000.0)  # Lumina-Image 2 has no field
    widths = config.get("axes_dims") or config.get("axes_dim_rope")
    speeds = [1 / theta ** (torch.arange(0, width, 2, dtype=torch.float64) / width) for width in widths]
    wide = [speed.to(torch.float32).repeat_interleave(2) for speed in speeds]
    angles = torch.cat([places[..., axis, None] * speed for axis, speed in enumerate(wide)], -1).unsqueeze(-2)
    turn = torch.block_diag(*[torch.tensor([[0.0, 1.0], [-1.0, 0.0]])] * (sum(widths) // 2))
    # The sum makes it a value of the graph: the tracer copies a constant to each of its uses.
    return Rotation(angles.cos(), angles.sin(), (turn + places.new_zeros(())).to(dtype))


@contextlib.contextmanager
def traceable_blocks(module: Any) -> Iterator[None]:
    """Rotate in real numbers while the context is active, and keep float16 graphs within their range."""
    half = next(module.parameters()).dtype == torch.float16
    with contextlib.ExitStack() as stack:
        for block in (*module.noise_refiner, *module.context_refiner, *module.layers):
            attention = getattr(block, "attention", None) or block.attn
            stack.enter_context(_replaced(attention, processor=_RealRotary(ATTENTION_SCALE if half else 1.0)))
            if half:
                _scale_down(block, stack)
        yield


def _scale_down(block: Any, stack: contextlib.ExitStack) -> None:
    """Scale the results of a block's two halves; a norm's eps, which is added to squares, follows."""
    after_attention = getattr(block, "attention_norm2", None) or block.norm2
    for norm, scale in ((after_attention, ATTENTION_SCALE), (block.ffn_norm2, FEED_FORWARD_SCALE)):
        stack.enter_context(_replaced(norm, eps=norm.eps * scale**2))
    layer = getattr(block.feed_forward, "w3", None) or block.feed_forward.linear_3
    handle = layer.register_forward_hook(lambda *values: values[-1] * FEED_FORWARD_SCALE)
    stack.callback(handle.remove)


@contextlib.contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Replace attributes while the context is active."""
    kept = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)


class _RealRotary:
    """Attention that rotates queries and keys in real numbers, with `scale` on its result."""

    def __init__(self, scale: float) -> None:
        self._scale = scale

    def __call__(
        self,
        attention: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,  # noqa: ARG002 - equals hidden_states
        attention_mask: torch.Tensor | None = None,
        freqs_cis: Rotation | None = None,
        image_rotary_emb: Rotation | None = None,
    ) -> torch.Tensor:
        """Return the attention of tokens [n, tokens, dim]; `attention_mask` is bool [n, 1, 1, tokens]."""
        rotate = freqs_cis or image_rotary_emb
        assert rotate  # noqa: S101 - both models pass one of them
        width = int(attention.to_q.out_features) // attention.heads
        query, key, value = (
            split_heads(layer(hidden_states), int(layer.out_features) // width)
            for layer in (attention.to_q, attention.to_k, attention.to_v)
        )
        if attention.norm_q is not None:
            query, key = attention.norm_q(query), attention.norm_k(key)
        query, key = rotate(query), rotate(key)
        if int(key.shape[2]) != attention.heads:
            sources = torch.arange(attention.heads) // (attention.heads // int(key.shape[2]))
            key, value = key[:, :, sources], value[:, :, sources]
        heads = (x.transpose(1, 2) for x in (query, key, value))
        attended = functional.scaled_dot_product_attention(*heads, attn_mask=attention_mask).transpose(1, 2).flatten(2)
        result: torch.Tensor = attention.to_out[0](attended * self._scale if self._scale != 1 else attended)
        return result
