"""What a denoiser's graph is fed, by the names that optimum and the exports of ours give its inputs.

A graph says by its inputs what it wants to know; nobody asks what family it is of.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..family import DenoiserPart
    from ..folder.configs import Traits
    from ..model import Array, Conditioning

AESTHETIC_SCORES = (6.0, 2.5)  # of the prompt and of the negative prompt, as diffusers' own pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call: latents [n, c, h, w], timesteps [n] of the sampler, and the rows' conditionings, of one key."""

    latents: Array
    timesteps: Array
    rows: Sequence[Conditioning]
    part: DenoiserPart
    traits: Traits
    downscale: int
    stacks: Callable[[Sequence[Any]], Any] = np.stack

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture in pixels."""
        height, width = self.latents.shape[2:]
        return height * self.downscale, width * self.downscale

    @property
    def scales(self) -> npt.NDArray[np.float32]:
        """[n] guidance scales."""
        return np.array([row.guidance_scale for row in self.rows], np.float32)


def pack(latents: Array, patch: int) -> Array:
    """Lay out latents [n, c, h, w] as tokens [n, h w / patch^2, c patch^2]."""
    n, c, h, w = latents.shape
    blocks = latents.reshape(n, c, h // patch, patch, w // patch, patch)
    return blocks.transpose(0, 2, 4, 1, 3, 5).reshape(n, h * w // patch**2, c * patch**2)


def unpack(tokens: Array, size: tuple[int, int], patch: int) -> Array:
    """Undo `pack` for latents of `size` (h, w)."""
    (n, _, wide), (h, w) = tokens.shape, size
    blocks = tokens.reshape(n, h // patch, w // patch, wide // patch**2, patch, patch)
    return blocks.transpose(0, 3, 1, 4, 2, 5).reshape(n, wide // patch**2, h, w)


def _latents(call: Call) -> Array:
    return pack(call.latents, call.part.patch) if call.part.packed else call.latents


def _time_ids(call: Call) -> Array:
    """Size of the original, upper left corner of its crop, and size of the picture, or a score of its beauty."""
    ends = [(AESTHETIC_SCORES[row.negative],) if call.traits.scored else call.size for row in call.rows]
    return np.array([(*call.size, 0, 0, *end) for end in ends], np.float32)


def _guidance_embedding(call: Call) -> Array:
    """Sines and cosines of the scale, less one: Luo et al. 2310.04378, as diffusers' LatentConsistencyModelPipeline."""
    half = call.traits.guidance_width // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-log(1e4) / (half - 1)))
    angles = (call.scales - 1)[:, None] * np.float32(1000) * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _image_ids(call: Call) -> npt.NDArray[np.int64]:
    """[h w / patch^2, 3] Row and column of each token."""
    height, width = (side // call.part.patch for side in call.latents.shape[2:])
    ids = np.zeros((height, width, 3), np.int64)
    ids[..., 1] += np.arange(height)[:, None]
    ids[..., 2] += np.arange(width)
    return ids.reshape(-1, 3)


def _stacked(name: str) -> Callable[[Call], Any]:
    return lambda call: call.stacks([getattr(row, name) for row in call.rows])


FEEDS: dict[str, Callable[[Call], npt.NDArray[Any]]] = {
    "sample": _latents,
    "hidden_states": _latents,
    "timestep": lambda call: (call.timesteps * np.float64(call.traits.time_scale)).astype(np.float32),
    "encoder_hidden_states": _stacked("prompt_embeds"),
    "encoder_attention_mask": _stacked("mask"),
    "text_embeds": _stacked("pooled"),
    "pooled_projections": _stacked("pooled"),
    "time_ids": _time_ids,
    "timestep_cond": _guidance_embedding,
    "guidance": lambda call: call.scales,
    "img_ids": _image_ids,
    "txt_ids": lambda call: np.zeros((len(call.rows[0].prompt_embeds), 3), np.int64),
}
