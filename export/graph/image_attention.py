"""Attention to image prompts in the cross attentions of a UNet (IP-Adapter: Ye et al. 2308.06721).

Each cross attention also attends with its queries to keys and values of the images, and adds the result to that of the
text. In a graph this is one `MultiHeadAttention`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

from .fused_operators import torch_attention

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEY, VALUE = ".K", ".V"


@contextlib.contextmanager
def attend_to_images(module: Any, prefix: str, inputs: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Attend to the keys and values among `inputs`, `PREFIX LAYER.K` and `.V`, while the context is active."""
    hooks = []
    for name in [name for name in inputs if name.startswith(prefix) and name.endswith(KEY)]:
        path = name.removesuffix(KEY)
        layer = module.get_submodule(path.removeprefix(prefix))
        extra = _ImageAttention(layer.heads, inputs[name], inputs[path + VALUE])
        hooks.append(layer.to_q.register_forward_hook(extra.keep_query))
        hooks.append(layer.to_out[0].register_forward_pre_hook(extra.add))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _ImageAttention:
    """Attention of a layer's queries [n, tokens, width] to keys and values [n or 1, image tokens, width]."""

    def __init__(self, heads: int, key: torch.Tensor, value: torch.Tensor) -> None:
        self._heads, self._key, self._value = heads, key, value

    def keep_query(self, _layer: Any, _inputs: Any, query: torch.Tensor) -> None:
        self._query = query

    def add(self, _layer: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0] + _FlatAttention.apply(self._query, self._key, self._value, self._heads),)


class _FlatAttention(torch.autograd.Function):
    """Attention of queries, keys and values [n, tokens, heads * width], of which keys and values may have one row."""

    @staticmethod
    def forward(_: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int) -> torch.Tensor:
        rows = query.shape[0]
        each = (query, key.expand(rows, -1, -1), value.expand(rows, -1, -1))
        split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in each]
        return torch_attention(*split).transpose(1, 2).flatten(2)

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, heads: int) -> Any:
        one = g.op("Constant", value_t=torch.tensor([1]))
        shape = g.op("Concat", g.op("Shape", query, end_i=1), one, one, axis_i=0)
        every = (g.op("Expand", each, shape) for each in (key, value))
        return g.op("com.microsoft::MultiHeadAttention", query, *every, num_heads_i=heads).setType(query.type())
