"""One row's way from noise to an image: its table, its state, its own source of noise."""

from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .table import Table

Latents = NDArray[np.float32]


class Noise(Protocol):
    """A stream of standard normal numbers; every row owns one."""

    def normal(self, shape: tuple[int, ...]) -> Latents:
        """Return the next numbers of the stream, float32."""


class Trajectory:
    """The state of one row between two model calls; x [c, h, w] float32.

    It owns all the arrays it returns: copy what has to outlive the next `advance`.
    """

    def __init__(self, table: Table, x: Latents, noise: Noise) -> None:
        self.table = table
        self.x = np.array(x, np.float32)
        self.i = 0
        """How many model calls are done."""
        self._noise = noise
        self._before = np.empty_like(self.x)
        self._scratch = np.empty_like(self.x)
        self._history = [np.zeros_like(self.x) for _ in range(table.history)]

    @classmethod
    def from_noise(cls, table: Table, shape: tuple[int, ...], noise: Noise) -> Self:
        """Start from nothing but noise."""
        return cls(table, noise.normal(shape) * np.float32(table.init), noise)

    @property
    def done(self) -> bool:
        """Whether x is the finished latents."""
        return self.i == len(self.table)

    def model_input(self) -> tuple[Latents, float]:
        """Return (x, timestep) for the next model call."""
        return self.x, float(self.table.timesteps[self.i])

    def advance(self, out: Latents) -> None:
        """Take the network's output [c, h, w] for `model_input` and move to the next point."""
        t, i = self.table, self.i
        newest, after = self._history[i % t.history], self._before
        np.multiply(out, np.float32(t.q[i]), out=newest)
        self._add(newest, t.p[i], self.x)
        np.multiply(self.x, np.float32(t.a[i]), out=after)
        for j, weight in enumerate(t.b[i]):
            self._add(after, weight, self._history[(i - j) % t.history])
        if t.d[i]:
            self._add(after, t.d[i], self._noise.normal(self.x.shape))
        self._before, self.x, self.i = self.x, after, i + 1

    @property
    def denoised(self) -> Latents:
        """The clean latents as estimated by the last model call; x itself before the first."""
        if not self.i:
            return self.x
        t, i = self.table, self.i - 1
        share = t.q0[i] / t.q[i]  # out = (D - p x) / q
        estimate = np.float32(t.p0[i] - share * t.p[i]) * self._before
        self._add(estimate, share, self._history[i % t.history])
        return estimate

    def _add(self, total: Latents, weight: float, term: Latents) -> None:
        if weight:
            np.multiply(term, np.float32(weight), out=self._scratch)
            np.add(total, self._scratch, out=total)


# Classifier-free guidance: Ho & Salimans 2207.12598, one scale per row.


Batch = NDArray[np.float32]


def guide(uncond: Batch, cond: Batch, scale: ArrayLike, rescale: ArrayLike = 0.0) -> Batch:
    """Return the guided network output [n, ...], float32: uncond + scale * (cond - uncond).

    Args:
        uncond: Outputs [n, ...] for the negative prompt.
        cond: Outputs [n, ...] for the prompt.
        scale: guidance_scale [n] or one number; 1 returns `cond`.
        rescale: [n] or one number in 0..1: how far each row's standard deviation goes back to that of `cond`
            (Lin et al. 2305.08891, section 3.4, eq. 15 and 16).
    """
    guided = uncond + _per_row(scale, cond) * (cond - uncond)
    share = _per_row(rescale, cond)
    if not share.any():
        return np.asarray(guided)
    axes = tuple(range(1, cond.ndim))
    # torch's std, which diffusers uses, has n - 1 below the line; here that cancels.
    spread = cond.std(axis=axes, keepdims=True) / np.maximum(guided.std(axis=axes, keepdims=True), 1e-12)
    return np.asarray(guided * (share * spread + (1 - share)))


def _per_row(value: ArrayLike, like: Batch) -> Batch:
    return np.asarray(value, np.float32).reshape(-1, *[1] * (like.ndim - 1))
