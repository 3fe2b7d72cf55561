"""One loaded model, as the engine sees it: five verbs on arrays, and nothing of graphs, tokenizers or providers.

Arrays are float32 and C-contiguous; the model casts to what its graphs want. A model is called by one thread at a
time, the one that owns the device; it keeps nothing between calls but the cache of conditionings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spec import ModelSpec

Array = npt.NDArray[np.float32]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What a prompt became: prompt_embeds [tokens, dim], pooled [dim] or None, float32, both read-only.

    `tokens` counts the prompt's own tokens, without padding and control tokens, after truncation.
    """

    prompt_embeds: Array = field(repr=False)
    pooled: Array | None = field(default=None, repr=False)
    tokens: int = 0

    def __post_init__(self) -> None:
        for array in (self.prompt_embeds, self.pooled):
            if array is not None:
                array.setflags(write=False)

    @property
    def key(self) -> tuple[Shape, Shape | None]:
        """Rows may share a call of the denoiser when their keys are equal."""
        return self.prompt_embeds.shape, None if self.pooled is None else self.pooled.shape


class Model(Protocol):
    """One loaded model. Calls may raise GenerationFailed and OutOfMemory."""

    @property
    def spec(self) -> ModelSpec:
        """What it is; `provider` is set."""

    def encode(self, prompts: Sequence[str]) -> list[Conditioning]:
        """Turn prompts into conditionings, one each and in order; a prompt seen lately costs nothing."""

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser once: latents [n, c, h, w], timesteps [n], n conditionings of one key -> out [n, c, h, w].

        Where `spec.batched_timestep` is False all timesteps must be equal (ValueError).
        """

    def decode(self, latents: Array) -> Array:
        """Decode latents [n, c, h, w] to pixels [n, 3, h * downscale, w * downscale] in 0..1.

        Raises:
            GenerationFailed: latents or pixels are not finite.
        """

    def encode_pixels(self, pixels: Array, noise: Array) -> Array:
        """Draw latents [n, c, h, w] of pixels [n or 1, 3, H, W] in 0..1; noise [n, c, h, w] is standard normal.

        Raises:
            Unsupported: the model has no image encoder.
            GenerationFailed: the latents are not finite.
        """

    def preview(self, latents: Array) -> Array:
        """Show latents [c, h, w] as pixels [3, h, w] in 0..1: cheap, rough, at latent resolution."""
