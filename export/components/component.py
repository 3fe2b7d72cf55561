"""One graph to export: a module, how it is called, and its inputs and outputs."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from .tensor_specs import ExampleSize, TensorSpec


# Module classes that call torch's attention function, unless their processor computes linear attention.
ATTENTION = frozenset(
    {
        "Attention",
        "CLIPAttention",
        "CoreAttention",
        "ErnieImageAttention",
        "Flux2Attention",
        "Flux2ParallelSelfAttention",
        "FluxAttention",
        "Ministral3Attention",
        "MistralAttention",
        "Krea2Attention",
        "LongCatImageAttention",
        "OvisImageAttention",
        "Qwen2_5_VLAttention",
        "Qwen2_5_VLVisionAttention",
        "Qwen3Attention",
        "Qwen3VLTextAttention",
        "QwenImageAttentionBlock",
        "T5Attention",
        "UMT5Attention",
    }
)
LINEAR = "Linear"


def _nothing(_: ExampleSize) -> Mapping[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return no inputs: all are drawn."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A module and the graph to make of it; `module.config` is saved next to the graph.

    - `call(module, **inputs)` returns the outputs in order.
    - `traced_call` replaces `call`, and `trace_patch` is active, while the module is traced. Comparisons compute the
      reference without both, as diffusers and transformers do, so that a comparison can fail.
    - `body` is the submodule that the graph computes, if that is not the whole module.
    - `float32_only` keeps the whole graph in float32.
    - `takes_adapters`: published adapters (LoRA) change this module.
    - `max_tokens` is the length of the longest input in tokens; 0 means no limit.
    - `residuals` are further inputs, of ControlNets and image prompts, whose effect is added to a hidden state; `call`
      takes them too.
    - `embedding_table` is the name of the weight that textual inversion extends (`graph.embedding_input`).
    - `given` returns the inputs of an example that depend on each other, such as positions; the others are drawn.
    """

    folder: str
    module: torch.nn.Module
    call: Callable[..., tuple[torch.Tensor, ...]]
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    downscale: int = 1
    body: torch.nn.Module | None = None
    float32_only: bool = False
    takes_adapters: bool = False
    residuals: Mapping[str, TensorSpec] = field(default_factory=dict)
    max_tokens: int = 0
    embedding_table: str = ""
    traced_call: Callable[..., tuple[torch.Tensor, ...]] | None = None
    trace_patch: Callable[[], AbstractContextManager[Any]] = nullcontext
    given: Callable[[ExampleSize], Mapping[str, np.ndarray[Any, np.dtype[Any]]]] = _nothing

    def example_inputs(self, size: ExampleSize, seed: int = 0) -> dict[str, torch.Tensor]:
        """Return random inputs of this size: float32, or int64 for token ids and masks."""
        size = replace(size, tokens=min(size.tokens, self.max_tokens or size.tokens))
        random, given = np.random.default_rng(seed), self.given(size)
        lengths = size.lengths(self.downscale)
        for name, array in given.items():
            lengths |= {axis: array.shape[place] for place, axis in self.inputs[name].dynamic.items()}
        drawn = {name: each for name, each in self.inputs.items() if name not in given}
        examples = {name: each.example(random, lengths) for name, each in drawn.items()}
        examples |= {name: torch.from_numpy(array) for name, array in given.items()}
        return {name: examples[name] for name in self.inputs}

    def example_residuals(self, size: ExampleSize, seed: int = 1) -> dict[str, torch.Tensor]:
        """Return random residuals of this size, float32."""
        random, lengths = np.random.default_rng(seed), size.lengths(self.downscale)
        return {name: each.example(random, lengths) for name, each in self.residuals.items()}

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Call the module in torch and return its outputs by name."""
        with torch.no_grad():
            return dict(zip(self.outputs, self.call(self.module, **inputs), strict=True))

    @property
    def attentions(self) -> int:
        """The number of attention modules; all of them must be fused in the graph."""
        return sum(map(_uses_attention, (self.body or self.module).modules()))


def _uses_attention(module: torch.nn.Module) -> bool:
    processor = type(getattr(module, "processor", None)).__name__
    return type(module).__name__ in ATTENTION and LINEAR not in processor
