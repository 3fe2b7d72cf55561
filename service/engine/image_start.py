"""Start of a row from an image: its latents, noised to the level of the first denoiser call.

Noise is drawn in the order of diffusers, so a seed gives the same image: for the posterior of the encoder, for the
first level, and with a mask once more for the masked image, which diffusers encodes whether or not the model reads it.
A model that reads it starts from pure noise at full strength; the image itself is then not encoded. FLUX.1 Fill still
draws the noise for it.

Two samplers of diffusers 0.42 are wrong when steps are skipped: PNDM calls the network with the level after that of x,
and LMS uses the weights of a history that it does not have. PLMS and LMS here follow their definitions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..numerics import Trajectory

if TYPE_CHECKING:
    from ..images.upload import Mask
    from ..models.model import Array
    from ..numerics import Noise, Table
    from .plan import LatentShape, Plan


@dataclass(frozen=True, slots=True, eq=False)
class ImageStart:
    """Start of a row from an image.

    Attributes:
        latents: clean latents [c, h, w]; None for pure noise.
        noise: noise [c, h, w], for every level.
        keep: share of each latent that is kept, [h, w], 0 to 1.
        extra_channels: further inputs of an inpainting model [channels, h, w]: the mask, 1 where it repaints, and the
            latents of the masked image, in the order of its `MaskLayout`.
    """

    latents: Array | None = field(repr=False)
    noise: Array = field(repr=False)
    keep: Array | None = field(default=None, repr=False)
    extra_channels: Array | None = field(default=None, repr=False)

    def trajectory(self, plan: Plan, stream: Noise) -> Trajectory:
        """Return the trajectory. With a mask and full strength, the repainted part starts from pure noise."""
        table = plan.table
        pure = self.latents is None or (self.keep is not None and plan.strength == 1)
        x = np.float32(table.init) * self.noise if pure else self._noised(table, 0)
        return Trajectory(table, x, stream)

    def restore(self, trajectory: Trajectory) -> None:
        """Restore the kept part after a call, at the new noise level; clean after the last call."""
        if self.keep is not None:
            kept = self._clean if trajectory.done else self._noised(trajectory.table, trajectory.i)
            np.copyto(trajectory.x, self.keep * kept + (1 - self.keep) * trajectory.x)

    def _noised(self, table: Table, i: int) -> Array:
        return np.float32(table.alphas[i]) * self._clean + np.float32(table.sigmas[i]) * self.noise

    @property
    def _clean(self) -> Array:
        assert self.latents is not None, "pure noise has no clean latents"  # noqa: S101
        return self.latents


def downscale_mask(mask: Mask, shape: LatentShape, cells: int = 1) -> Mask:
    """Return a mask [H, W] as `cells` x `cells` channels [cells^2, h, w] in the size of latents of `shape` [c, h, w].

    The upper left pixel decides for each cell of a latent, as in diffusers. The API layer then restores all kept
    pixels.
    """
    _, height, width = shape
    fine = mask[:: mask.shape[0] // (height * cells), :: mask.shape[1] // (width * cells)]
    return fine.reshape(height, cells, width, cells).transpose(1, 3, 0, 2).reshape(cells**2, height, width)


def kept_share(mask: Mask, shape: LatentShape, *, smooth: bool) -> Array:
    """Return which share of each latent of `shape` [c, h, w] a mask [H, W] keeps: [h, w], 0 or 1.

    With `smooth` it is 0 to 1: the four pixels in the middle of a latent decide, as in FLUX.2's pipeline.
    """
    if not smooth:
        return np.asarray(~downscale_mask(mask, shape)[0], np.float32)
    _, height, width = shape
    down, across = mask.shape[0] // height, mask.shape[1] // width
    rows, columns = slice(down // 2 - 1, down // 2 + 1), slice(across // 2 - 1, across // 2 + 1)
    middle = mask.reshape(height, down, width, across)[:, rows, :, columns]
    return np.asarray(1 - middle.mean(axis=(1, 3), dtype=np.float32), np.float32)
