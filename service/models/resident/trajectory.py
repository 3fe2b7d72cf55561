"""One row's trajectory along its table, whose latents and history are in a slot on the device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...numerics import Trajectory
from .graphs import Column

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...numerics import KeptPart, Noise, Table
    from ..model import Array
    from .graphs import LatentShape


class RowStore(Protocol):
    """Where the slots are."""

    shape: LatentShape

    def read(self, slot: int) -> Array:
        """Return x and the D of earlier calls [planes, c, h, w]."""

    def read_latents(self, slot: int) -> Array:
        """Return x [c, h, w]."""


@dataclass(eq=False, slots=True, weakref_slot=True)
class ResidentTrajectory:
    """The state of one row between two model calls; its slot is free once it is dropped.

    `timesteps` [n] are those of the denoiser. The slot holds the `kept` part, too. `finite` and `estimate` are of the
    last call; the estimate of the clean latents is there only if it was requested.
    """

    table: Table
    timesteps: Array = field(repr=False)
    noise: Noise
    state: RowStore = field(repr=False)
    slot: int
    i: int = 0
    kept: KeptPart | None = field(default=None, repr=False)
    channels: Array | None = field(default=None, repr=False)
    finite: bool = True
    estimate: Array | None = field(default=None, repr=False)
    _drawn: Array | None = field(default=None, repr=False)
    _coefficients: Array | None = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        """Whether x is the finished latents."""
        return self.i == len(self.table)

    @property
    def x(self) -> Array:
        """The latents [c, h, w], fetched."""
        return self.state.read_latents(self.slot)

    @property
    def denoised(self) -> Array:
        """The clean latents estimated by the last call, or x."""
        return self.x if self.estimate is None else self.estimate

    @property
    def draws(self) -> bool:
        """Whether the next call adds noise."""
        return bool(self.table.d[self.i])

    def fresh_noise(self) -> Array:
        """Return the noise of the next call, the same until `advanced`: a call that fails draws none."""
        if self._drawn is None:
            self._drawn = self.noise.normal(self.state.shape)
        return self._drawn

    @property
    def coefficients(self) -> Array:
        """What the next call needs by `Column`, without guidance: [columns]."""
        if self._coefficients is None:
            self._coefficients = _coefficients(self.table, self.timesteps)
        row: Array = self._coefficients[self.i]
        return row

    def advanced(self, *, finite: bool, estimate: Array | None) -> None:
        """Record that a call has updated the slot."""
        self.i += 1
        self.finite, self.estimate, self._drawn = finite, estimate, None

    def to_host(self) -> Trajectory:
        """Return the same row as arrays."""
        stream = self.noise if self._drawn is None else _Redrawn(self._drawn, self.noise)
        x, *past = self.state.read(self.slot)
        return Trajectory(self.table, x, stream, self.kept, self.channels).resume(self.i, past)


class _Redrawn:
    """A stream of noise whose next numbers were already drawn."""

    def __init__(self, drawn: Array, noise: Noise) -> None:
        self._drawn, self._noise = [drawn], noise

    def normal(self, shape: tuple[int, ...]) -> Array:
        """Return the drawn numbers once, and then those of the stream."""
        return self._drawn.pop() if self._drawn else self._noise.normal(shape)


def _coefficients(table: Table, timesteps: Array) -> Array:
    """Return the coefficients of all calls, [n, columns]."""
    rows = np.zeros((len(table), Column.WEIGHTS + table.history), np.float32)
    ratio = table.q0 / table.q  # as in `Trajectory.denoised`
    columns: dict[Column, npt.NDArray[np.floating]] = {
        Column.TIMESTEP: timesteps,
        Column.P: table.p,
        Column.Q: table.q,
        Column.A: table.a,
        Column.NOISE: table.d,
        Column.ALPHA: table.alphas[1:],
        Column.SIGMA: table.sigmas[1:],
        Column.ESTIMATE_X: table.p0 - ratio * table.p,
        Column.ESTIMATE_D: ratio,
    }
    for column, numbers in columns.items():
        rows[:, column] = numbers
    rows[:, Column.WEIGHTS :] = table.b
    rows[-1, Column.ALPHA], rows[-1, Column.SIGMA] = 1, 0  # the kept part of the image is clean at the end
    return rows
