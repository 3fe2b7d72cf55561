"""One graph to write: a module, how it is called, what goes in and comes out."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from .values import Size, Value


# Classes of modules that attend by torch's own function, and may be told not to by their processors.
ATTENTION = ("Attention", "FluxAttention")
LINEAR = "Linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """`call(module, **inputs)` returns the outputs in their order; `module.config` is saved beside the graph.

    `traced` replaces `call`, and `patch` must hold, while the module is traced. What they are compared with is called
    without them, as diffusers and transformers would, so that the comparison can fail.
    `body` is the part of the module that is called, where that is not all of it, and `masked` what those of its
    attention modules are called that are limited by a mask. `wide` keeps the whole graph in float32.
    `adaptable` modules are those that published adapters (LoRA) change. `longest` is how many tokens the module can
    read at most, 0 where it has no limit. `table` is the weight that further embeddings extend.
    """

    folder: str
    module: torch.nn.Module
    call: Callable[..., tuple[torch.Tensor, ...]]
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    downscale: int = 1
    body: torch.nn.Module | None = None
    masked: str = "none"
    wide: bool = False
    adaptable: bool = False
    longest: int = 0
    table: str = ""
    traced: Callable[..., tuple[torch.Tensor, ...]] | None = None
    patch: Callable[[], AbstractContextManager[Any]] = nullcontext

    def example(self, size: Size, seed: int = 0) -> dict[str, torch.Tensor]:
        """Draw inputs of this size; float32, whole numbers int64."""
        tokens = min(size.tokens, self.longest or size.tokens)
        random, lengths = np.random.default_rng(seed), replace(size, tokens=tokens).lengths(self.downscale)
        return {name: value.example(random, lengths) for name, value in self.inputs.items()}

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Call the module itself."""
        with torch.no_grad():
            return dict(zip(self.outputs, self.call(self.module, **inputs), strict=True))

    @property
    def attentions(self) -> int:
        """How many attentions without a mask the module computes, by its structure: so many must be fused."""
        modules = (self.body or self.module).named_modules()
        return sum(_attends(module) and not name.endswith(self.masked) for name, module in modules)


def _attends(module: torch.nn.Module) -> bool:
    processor = type(getattr(module, "processor", None)).__name__
    return type(module).__name__ in ATTENTION and LINEAR not in processor
