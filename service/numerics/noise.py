"""Random numbers equal to torch's, so that a seed gives the same image as in diffusers.

`torch.Generator("cpu").manual_seed(seed)` is the Mersenne Twister with its first seeding rule, and so is numpy's
RandomState. `torch.randn` converts its words into normal numbers by the Box-Muller transform, in one of two ways:

- 16 numbers or more: 24 bits make one float32 uniform; blocks of 16 pair number j with number j + 8.
  If 16 does not divide the size, 16 more uniforms are drawn at the end for a last block that overwrites the last 16.
- Fewer: 53 bits of two words make one float64 uniform; two uniforms make two numbers. The second is kept for the next
  number drawn this way, even in a later call.

A float16 pipeline draws the same numbers, rounded (if 16 divides their count, as it does for latents).
Each image has its own stream: image k of a request equals the one that diffusers draws with the list of generators
`[torch.Generator("cpu").manual_seed(seed + k) for k in range(n)]`, not with one generator for the whole batch.

Source: aten/src/ATen/native/cpu/DistributionTemplates.h and ATen/core/DistributionsHelper.h.
"""

import math

import numpy as np
from numpy.typing import NDArray

BLOCK = 16


class TorchNoise:
    """The stream of `torch.Generator("cpu").manual_seed(seed)`, equal to torch's within about one float32 rounding.

    Any integer is a seed; as in torch, only its lower 32 bits count.
    """

    def __init__(self, seed: int) -> None:
        self._words = np.random.RandomState(seed & 0xFFFFFFFF)  # not default_rng: torch uses the legacy seeding
        self._spare: float | None = None

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the array that `torch.randn(shape, generator=g)` would return next, float32."""
        n = math.prod(shape)
        if n < BLOCK:
            return np.array([self._single() for _ in range(n)], np.float32).reshape(shape)
        uniforms = self._uniforms(n)
        in_blocks = n - n % BLOCK
        normals = np.empty(n, np.float32)
        normals[:in_blocks] = _box_muller(uniforms[:in_blocks])
        if n > in_blocks:
            normals[-BLOCK:] = _box_muller(self._uniforms(BLOCK))
        return normals.reshape(shape)

    def _uniforms(self, n: int) -> NDArray[np.float32]:
        words = np.frombuffer(self._words.bytes(4 * n), "<u4")
        return (words & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)

    def _single(self) -> float:
        if self._spare is not None:
            spare, self._spare = self._spare, None
            return spare
        angle, radius = (2 * math.pi * self._double(), math.sqrt(-2 * math.log1p(-self._double())))
        self._spare = radius * math.sin(angle)
        return radius * math.cos(angle)

    def _double(self) -> float:
        high, low = np.frombuffer(self._words.bytes(8), "<u4").tolist()
        return float((high << 32 | low) & (2**53 - 1)) * 2.0**-53


def _box_muller(uniforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return uniforms [16 m] in [0, 1) as the same number of normal numbers, block by block."""
    halves = uniforms.reshape(-1, 2, BLOCK // 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.float32(1) - halves[:, 0]))
    angle = np.float32(2 * np.pi) * halves[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
