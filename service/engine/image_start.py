"""Where a row begins that does not begin with pure noise: at an image, noised to the level of its first call.

Noise is drawn in diffusers' order, so that a seed gives diffusers' image: for the encoder's posterior, for the first
level, and with a mask once more, for the masked image that diffusers encodes whether or not the model looks at it.
A model that looks at it begins at full strength as pure noise, and then the image itself is not encoded.

Two of its samplers lose their place when steps are left out (0.39): PNDM calls the network with the level after the
one that x has, and LMS takes the weights of a history that it has not got. PLMS and LMS here are as they are meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..numerics import Trajectory

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..images.source import Mask
    from ..models.model import Array
    from ..numerics import Noise, Table
    from .plan import LatentShape, Plan


@dataclass(frozen=True, slots=True, eq=False)
class ImageStart:
    """Clean `latents` [c, h, w], None for pure noise, and the `noise` [c, h, w] for every level.

    `keep` [h, w] is True where they stay. `extra_channels` [1 + c, h, w] are further inputs of an
    inpainting model: 1 where it repaints, and the latents of the masked image.
    """

    latents: Array | None = field(repr=False)
    noise: Array = field(repr=False)
    keep: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    extra_channels: Array | None = field(default=None, repr=False)

    def trajectory(self, plan: Plan, stream: Noise) -> Trajectory:
        """Return the way from here; with a mask and full strength what is repainted begins as pure noise."""
        table = plan.table
        pure = self.latents is None or (self.keep is not None and plan.strength == 1)
        x = np.float32(table.init) * self.noise if pure else self._at(table, 0)
        return Trajectory(table, x, stream)

    def restore(self, trajectory: Trajectory) -> None:
        """Put back what is kept after a call: at the level that the call led to, clean after the last."""
        if self.keep is not None:
            kept = self._clean if trajectory.done else self._at(trajectory.table, trajectory.i)
            np.copyto(trajectory.x, kept, where=self.keep)

    def _at(self, table: Table, i: int) -> Array:
        return np.float32(table.alphas[i]) * self._clean + np.float32(table.sigmas[i]) * self.noise

    @property
    def _clean(self) -> Array:
        assert self.latents is not None, "pure noise is asked for no image"  # noqa: S101
        return self.latents


def downscale_mask(mask: Mask, shape: LatentShape) -> Mask:
    """Return a mask [H, W] for latents of `shape` [c, h, w]: of each place the upper left pixel decides, as diffusers'.

    What it names of the pixels is put right in the finished image: no pixel that is kept shows anything else.
    """
    _, height, width = shape
    return mask[:: mask.shape[0] // height, :: mask.shape[1] // width]
