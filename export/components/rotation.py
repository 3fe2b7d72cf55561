"""Rotary positions of FLUX and its kin, in a form that can be traced for all sizes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

FUNCTION = "apply_rotary_emb"


@contextlib.contextmanager
def traceable_rotation(module: ModuleType) -> Iterator[None]:
    """Pair neighbours by slices in a module of diffusers while the context is active.

    diffusers' reshape would be traced with fixed sizes.
    """
    original = getattr(module, FUNCTION)
    setattr(module, FUNCTION, rotate)
    try:
        yield
    finally:
        setattr(module, FUNCTION, original)


def rotate(x: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor], sequence_dim: int = 2) -> torch.Tensor:
    """Rotate pairs of neighbours in x [n, tokens, heads, dim] by cos and sin [tokens, dim].

    `sequence_dim` is the axis of the tokens.
    """
    cos, sin = (part[None, :, None] if sequence_dim == 1 else part[None, None] for part in angles)
    rotated = torch.stack([-x[..., 1::2], x[..., 0::2]], dim=-1).flatten(3)
    return (x.float() * cos + rotated.float() * sin).to(x.dtype)
