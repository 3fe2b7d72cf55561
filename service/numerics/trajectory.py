"""The float32 arithmetic of a run: classifier-free guidance, and one row's trajectory along its table."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .table import Table

Latents = NDArray[np.float32]
PerRow = float | Sequence[float] | NDArray[np.floating[Any]]
"""A number for each row [n], or one for all."""


class KeptNorm(StrEnum):
    """Over what the length of the guided output is limited to that of the conditional one."""

    NONE = ""
    BLOCK = "block"
    """All channels of a block of 2 by 2 latents: Qwen-Image."""
    WIDTH = "width"
    """The last axis: Lumina-Image 2."""


@dataclass(frozen=True, slots=True)
class GuidanceRule:
    """How a model's guidance differs from `uncond + scale * (cond - uncond)`.

    `offset` is added to the scale. `norm`: the guided output gets the length of the conditional one over these axes;
    with `shrinks` only if it is longer.
    """

    offset: float = 0.0
    norm: KeptNorm = KeptNorm.NONE
    shrinks: bool = False


PLAIN = GuidanceRule()


def guide(uncond: Latents, cond: Latents, scale: PerRow, rescale: PerRow = 0.0, rule: GuidanceRule = PLAIN) -> Latents:
    """Return the guided network output [n, ...], float32: uncond + scale * (cond - uncond).

    Classifier-free guidance, Ho & Salimans 2207.12598, with one scale per row.

    Args:
        uncond: Outputs [n, ...] for the negative prompt.
        cond: Outputs [n, ...] for the prompt.
        scale: guidance_scale, [n] or one number; 1 returns `cond`.
        rescale: [n] or one number in 0..1: how far each row's standard deviation is moved back to that of `cond`
            (Lin et al. 2305.08891, section 3.4, eq. 15 and 16).
        rule: What the model does differently.
    """
    guided = cond - uncond
    # One number for all rows is rounded to float32 as well, and is several times as fast as an array.
    guided *= scale + rule.offset if isinstance(scale, float) else _per_row(np.asarray(scale) + rule.offset, cond)
    guided += uncond
    if rule.norm:
        ratio = _length(cond, rule.norm) / np.maximum(_length(guided, rule.norm), np.float32(1e-12))
        guided *= np.minimum(ratio, np.float32(1)) if rule.shrinks else ratio
    if isinstance(rescale, float) and not rescale:
        return guided
    share = _per_row(rescale, cond)
    if not share.any():
        return guided
    axes = tuple(range(1, cond.ndim))
    # torch's std, which diffusers uses, divides by n - 1; in this ratio the divisor cancels.
    ratio = cond.std(axis=axes, keepdims=True) / np.maximum(guided.std(axis=axes, keepdims=True), 1e-12)
    return np.asarray(guided * (share * ratio + (1 - share)))


def _length(out: Latents, norm: KeptNorm) -> Latents:
    """Return Euclidean lengths of outputs [n, c, h, w], broadcastable to them."""
    squares = np.square(out)
    if norm is KeptNorm.WIDTH:
        return np.asarray(np.sqrt(squares.sum(axis=-1, keepdims=True)))
    n, c, h, w = out.shape
    blocks = np.sqrt(squares.reshape(n, c, h // 2, 2, w // 2, 2).sum(axis=(1, 3, 5), keepdims=True))
    return np.broadcast_to(blocks, (n, 1, h // 2, 2, w // 2, 2)).reshape(n, 1, h, w)


def _per_row(value: ArrayLike, like: Latents) -> Latents:
    return np.asarray(value, np.float32).reshape(-1, *[1] * (like.ndim - 1))


class Noise(Protocol):
    """A stream of standard normal numbers; each row owns one."""

    def normal(self, shape: tuple[int, ...]) -> Latents:
        """Return the next numbers of the stream, float32."""


class KeptPart(NamedTuple):
    """What a mask keeps of an image: the share [h, w] of each latent, 0 to 1; the clean latents [c, h, w]; noise."""

    share: Latents
    clean: Latents
    noise: Latents

    def before(self, table: Table, i: int) -> Latents:
        """Return its latents at the noise level of call `i`; clean after the last call."""
        return self.clean if i == len(table) else noised(table, i, self.clean, self.noise)


def noised(table: Table, i: int, clean: Latents, noise: Latents) -> Latents:
    """Return clean latents at the noise level of call `i`."""
    return np.float32(table.alphas[i]) * clean + np.float32(table.sigmas[i]) * noise


class Trajectory:
    """The state of one row between two model calls; x [c, h, w] float32.

    A trajectory owns every array that it returns. Copy an array that must survive the next `advance`. Each call
    restores the `kept` part. `channels` [c', h, w] are further inputs of the model.
    """

    def __init__(
        self,
        table: Table,
        x: Latents,
        noise: Noise,
        kept: KeptPart | None = None,
        channels: Latents | None = None,
    ) -> None:
        self.table = table
        self.x = np.array(x, np.float32)
        self.i = 0
        """The number of completed model calls."""
        self.noise, self.kept, self.channels = noise, kept, channels
        self._previous = np.empty_like(self.x)
        self._scratch = np.empty_like(self.x)
        self._history = [np.zeros_like(self.x) for _ in range(table.history)]

    @classmethod
    def from_noise(cls, table: Table, shape: tuple[int, ...], noise: Noise) -> Self:
        """Start from pure noise."""
        return cls(table, noise.normal(shape) * np.float32(table.init), noise)

    def resume(self, i: int, past: Sequence[Latents]) -> Self:
        """Continue before call `i` with the `planes` of another trajectory behind x."""
        self.i = i
        for j, d in enumerate(past[: len(self._history) - 1], 1):
            self._history[(i - j) % len(self._history)][:] = d
        return self

    @property
    def planes(self) -> list[Latents]:
        """What later calls read: x and the K - 1 latest D, newest first; zeros before the first call."""
        k = self.table.history
        return [self.x, *(self._history[(self.i - j) % k] for j in range(1, k))]

    @property
    def done(self) -> bool:
        """Whether x is the finished latents."""
        return self.i == len(self.table)

    def model_input(self) -> tuple[Latents, float]:
        """Return the latents, with further channels, and the timestep for the next model call."""
        x = self.x if self.channels is None else np.concatenate([self.x, self.channels])
        return x, self.table.calls[self.i].timestep

    def advance(self, out: Latents) -> None:
        """Apply the update of `table` to the network's output [c, h, w] for `model_input`."""
        _, p, q, a, b, d = self.table.calls[self.i]
        i, history, x, after = self.i, self._history, self.x, self._previous
        newest = history[i % len(history)]
        np.multiply(out, q, newest)
        self._add(newest, p, x)
        np.multiply(x, a, after)
        for j, weight in enumerate(b):
            self._add(after, weight, history[(i - j) % len(history)])
        if d:
            self._add(after, d, self.noise.normal(x.shape))
        self._previous, self.x, self.i = x, after, i + 1
        if self.kept:
            share = self.kept.share
            np.copyto(after, share * self.kept.before(self.table, self.i) + (1 - share) * after)

    @property
    def finite(self) -> bool:
        """Whether all latents are finite. Later calls can't repair latents that are not."""
        return bool(np.isfinite(self.x).all())

    @property
    def denoised(self) -> Latents:
        """The clean latents estimated by the last model call; x itself before the first."""
        if not self.i:
            return self.x
        t, i = self.table, self.i - 1
        ratio = t.q0[i] / t.q[i]  # out = (D - p x) / q
        estimate = np.float32(t.p0[i] - ratio * t.p[i]) * self._previous
        self._add(estimate, float(ratio), self._history[i % t.history])
        return estimate

    def _add(self, total: Latents, weight: float, term: Latents) -> None:
        if weight:
            np.multiply(term, weight, self._scratch)  # a Python number is rounded to float32 first
            np.add(total, self._scratch, total)
