"""One loaded model, as the engine sees it: verbs on arrays, and nothing of graphs, tokenizers or providers.

Arrays are float32 and C-contiguous; the model casts to what its graphs want. A model is called by one thread at a
time, the one that owns the device; it keeps nothing between calls but the cache of conditionings. Any may stop it.
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


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to encode; `negative` is what shall not be shown; `weighted` reads `(word:1.3)` as a weight.

    `loras` are adapters by name, with their weights; `embeddings` are files whose names in prompts mean their vectors.
    """

    text: str
    negative: bool = False
    weighted: bool = False
    loras: tuple[tuple[str, float], ...] = ()
    embeddings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What a prompt became: prompt_embeds [tokens, dim], and what else the model wants to know of its row.

    `pooled` is [dim], `mask` [tokens] int64 with 1 where a token counts; both None where the model has none. Arrays
    are float32 but for the mask, and read-only. `tokens` counts the prompt's own tokens, without padding and control
    tokens, as far as they are read. `guidance_scale` is for models that take it as an input. `later` is what the
    prompt became for a second stage, where there is one. `loras` are the prompt's; `held` keeps them in memory.
    """

    prompt_embeds: Array = field(repr=False)
    pooled: Array | None = field(default=None, repr=False)
    mask: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    tokens: int = 0
    negative: bool = False
    guidance_scale: float = 1.0
    later: Conditioning | None = field(default=None, repr=False)
    loras: tuple[tuple[str, float], ...] = ()
    held: tuple[object, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for array in self.arrays:
            array.setflags(write=False)

    @property
    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """Return all arrays that there are."""
        return [array for array in (self.prompt_embeds, self.pooled, self.mask) if array is not None]

    @property
    def key(self) -> tuple[Shape, ...]:
        """Rows may share a call of the denoiser when their keys are equal: of one model, equal shapes."""
        return (*(array.shape for array in self.arrays), *(self.later.key if self.later else ()))


class Model(Protocol):
    """One loaded model. Calls may raise GenerationFailed, OutOfMemory and, between `stop` and `resume`, Cancelled."""

    @property
    def spec(self) -> ModelSpec:
        """What it is; `provider` is set."""

    def chunks(self, prompts: Sequence[Prompt]) -> int:
        """Return how many chunks the longest of some prompts has."""

    def encode(self, prompts: Sequence[Prompt], chunks: int = 1) -> list[Conditioning]:
        """Encode the prompts of one image, one conditioning each, in order.

        Recent prompts come from the cache. Each gets as many chunks as the longest of them, and at least `chunks`.
        """

    def denoise(self, latents: Array, timesteps: Array, conditionings: Sequence[Conditioning]) -> Array:
        """Call the denoiser once: latents [n, c, h, w], timesteps [n], n conditionings of one key -> out [n, c, h, w].

        Where `spec.inpaints`, latents have c + 1 + c channels: a mask, and the latents of the masked picture.
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

    def stop(self) -> None:
        """End the call under way as soon as may be, and fail others until `resume`. From any thread."""

    def resume(self) -> None:
        """Let calls run again."""
