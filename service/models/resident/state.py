"""The latents of all rows of one latent shape, in slots on the device."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from .slots import Slots
from .trajectory import ResidentTrajectory

if TYPE_CHECKING:
    from ...numerics import KeptPart, Trajectory
    from ..model import Array
    from .graphs import LatentShape
    from .values import Functions


class LatentState:
    """The latents of rows of one shape [c, h, w].

    A slot holds x and, as further planes, the D of earlier calls, newest first: as many as a row that joined reads.
    """

    def __init__(self, functions: Functions, shape: LatentShape) -> None:
        self._functions, self.shape = functions, shape
        self.latents = Slots(functions, (1, *shape))
        self._masks: Slots | None = None
        self._used: set[int] = set()

    @property
    def is_used(self) -> bool:
        """Whether any row has a slot."""
        return bool(self._used)

    @property
    def masks(self) -> Any:
        """The kept parts [slots, 1 + 2 c, h, w] of masked rows; zeros for others."""
        return self._mask_slots().current

    def join(self, row: Trajectory, timesteps: Array) -> ResidentTrajectory:
        """Move a row to a free slot; `timesteps` [n] are those of the denoiser."""
        slot = next(place for place in range(len(self._used) + 1) if place not in self._used)
        self.latents.grow(slot + 1, row.table.history)
        planes = np.zeros(self.latents.axes, np.float32)
        planes[: row.table.history] = row.planes
        self.latents.write(slot, planes)
        if row.kept or self._masks:
            self._write_mask(slot, row.kept)
        self._used.add(slot)
        joined = ResidentTrajectory(row.table, timesteps, row.noise, self, slot, row.i, row.kept, row.channels)
        weakref.finalize(joined, self._used.discard, slot).atexit = False
        return joined

    def read(self, slot: int) -> Array:
        """Return x and the D of earlier calls [planes, c, h, w] of a slot."""
        return self.latents.read(slot)

    def read_latents(self, slot: int) -> Array:
        """Return x [c, h, w] of a slot."""
        return self.latents.read_plane(slot)

    def _write_mask(self, slot: int, kept: KeptPart | None) -> None:
        slots = self._mask_slots()
        row = np.zeros(slots.axes, np.float32)
        if kept:
            c = self.shape[0]
            row[0], row[1 : 1 + c], row[1 + c :] = kept.share, kept.clean, kept.noise
        slots.write(slot, row)

    def _mask_slots(self) -> Slots:
        """Return the slots of kept parts, as many as those of latents."""
        if self._masks is None:
            channels, height, width = self.shape
            self._masks = Slots(self._functions, (1 + 2 * channels, height, width))
        self._masks.grow(self.latents.count)
        return self._masks
