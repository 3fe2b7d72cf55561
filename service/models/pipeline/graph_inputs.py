"""The inputs of denoiser graphs, by the names that optimum and `tintype export` give them.

A graph states by its inputs what it needs; nothing here depends on its family.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..family import DenoiserSpec
    from ..folder.configs import PipelineConfig
    from ..model import Array, Conditioning

AESTHETIC_SCORES = (6.0, 2.5)  # of the prompt and of the negative prompt, as in diffusers' pipeline


@dataclass(frozen=True, slots=True, eq=False)
class DenoiserCall:
    """One call: latents [n, c, h, w], timesteps [n] of the sampler, and n conditionings of one key.

    The first `channels` of the latents are not those of a mask; 0 means all.
    """

    latents: Array
    timesteps: Array
    rows: Sequence[Conditioning]
    spec: DenoiserSpec
    config: PipelineConfig
    downscale: int
    stack: Callable[[Sequence[Any]], Any] = np.stack
    channels: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of the image in pixels."""
        height, width = self.latents.shape[2:]
        return height * self.downscale, width * self.downscale

    @property
    def references(self) -> list[Array]:
        """Return the latents [n, c, h, w] of each image to edit, of all rows."""
        return [self.stack(list(each)) for each in zip(*(row.references for row in self.rows), strict=True)]

    @property
    def position_ids(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the places of the tokens of images and text."""
        shapes = [self.latents.shape[2:], *(each.shape[1:] for each in self.rows[0].references)]
        grids = [(height // self.spec.patch, width // self.spec.patch) for height, width in shapes]
        return self.spec.position_ids(grids, len(self.rows[0].prompt_embeds))

    @property
    def guidance_scales(self) -> npt.NDArray[np.float32]:
        """Return the guidance scales [n]."""
        return np.array([row.guidance_scale for row in self.rows], np.float32)


def pack(latents: Array, patch: int) -> Array:
    """Lay out latents [n, c, h, w] as tokens [n, h w / patch^2, c patch^2]."""
    n, c, h, w = latents.shape
    blocks = latents.reshape(n, c, h // patch, patch, w // patch, patch)
    return blocks.transpose(0, 2, 4, 1, 3, 5).reshape(n, h * w // patch**2, c * patch**2)


def unpack(tokens: Array, size: tuple[int, int], patch: int) -> Array:
    """Return tokens as latents of `size` (h, w): the inverse of `pack`."""
    (n, _, wide), (h, w) = tokens.shape, size
    blocks = tokens.reshape(n, h // patch, w // patch, wide // patch**2, patch, patch)
    return blocks.transpose(0, 3, 1, 4, 2, 5).reshape(n, wide // patch**2, h, w)


def scale_timesteps(timesteps: Array, config: PipelineConfig) -> Array:
    """Return timesteps of the sampler in the scale of the graph."""
    scale = config.timestep_scale
    return timesteps if scale == 1 else (timesteps * np.float64(scale)).astype(np.float32)


def _latents(call: DenoiserCall) -> Array:
    """Return the latents, and as tokens with those of the references after them."""
    if not call.spec.packed:
        return call.latents
    tokens = pack(call.latents, call.spec.patch)
    return np.concatenate([tokens, *(pack(each, call.spec.patch) for each in call.references)], axis=1)


def _time_ids(call: DenoiserCall) -> Array:
    """Return for each row: original size, upper left corner of the crop, and the image's size or aesthetic score."""
    ends = [(AESTHETIC_SCORES[row.negative],) if call.config.aesthetic_scores else call.size for row in call.rows]
    return np.array([(*call.size, 0, 0, *end) for end in ends], np.float32)


def _guidance_embedding(call: DenoiserCall) -> Array:
    """Return sines and cosines of scale - 1: Luo et al. 2310.04378, as in diffusers' LatentConsistencyModelPipeline."""
    half = call.config.guidance_width // 2
    frequencies = np.exp(np.arange(half, dtype=np.float32) * np.float32(-log(1e4) / (half - 1)))
    angles = (call.guidance_scales - 1)[:, None] * np.float32(1000) * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _stacked(name: str) -> Callable[[DenoiserCall], Any]:
    return lambda call: call.stack([getattr(row, name) for row in call.rows])


GRAPH_INPUTS: dict[str, Callable[[DenoiserCall], npt.NDArray[Any]]] = {
    "sample": _latents,
    "hidden_states": _latents,
    "timestep": lambda call: scale_timesteps(call.timesteps, call.config),
    "encoder_hidden_states": _stacked("prompt_embeds"),
    "encoder_attention_mask": _stacked("mask"),
    "text_embeds": _stacked("pooled"),
    "pooled_projections": _stacked("pooled"),
    "time_ids": _time_ids,
    "timestep_cond": _guidance_embedding,
    "resolution": lambda call: np.array([call.size] * len(call.rows), np.float32),
    "aspect_ratio": lambda call: np.array([[call.size[0] / call.size[1]]] * len(call.rows), np.float32),
    "guidance": lambda call: call.guidance_scales,
    "img_ids": lambda call: call.position_ids[0],
    "txt_ids": lambda call: call.position_ids[1],
}
