"""What the engine knows of latents on a device: rows that join, and steps of rows that have joined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .graphs import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...numerics import GuidanceRule, Trajectory
    from ..model import Array, Conditioning, Model
    from .decoding import Levels
    from .trajectory import ResidentTrajectory


@dataclass(frozen=True, slots=True)
class ResidentCall:
    """One row of a step.

    Args:
        row: Its trajectory.
        conditionings: Of the prompt and, with guidance, of the negative prompt.
        scale: Its guidance scale, with the offset of the model's rule.
        rescale: As in `numerics.guide`; 0 without guidance.
        estimated: Whether the estimate of its clean latents is fetched.
    """

    row: ResidentTrajectory
    conditionings: tuple[Conditioning, ...]
    scale: float = 1.0
    rescale: float = 0.0
    estimated: bool = False


class ResidentLatents(Protocol):
    """Denoiser steps of rows whose latents stay on the device of a model. Only the device thread calls it."""

    def takes(self, conditionings: Sequence[Conditioning]) -> bool:
        """Return whether a step with these conditionings is possible; otherwise the latents must be on the host."""

    def holds(self, row: ResidentTrajectory) -> bool:
        """Return whether a row has joined here, and not a model that was unloaded since."""

    def join(self, row: Trajectory) -> ResidentTrajectory:
        """Move a row to the device.

        Raises:
            OutOfMemory: the device has no memory for it.
            NotResident: the device can't hold latents; `takes` is False from then on.
        """

    def advance(self, calls: Sequence[ResidentCall], width: int, rule: GuidanceRule) -> None:
        """Advance rows of one latent shape by one step, in denoiser calls of at most `width` rows.

        Raises:
            GenerationFailed, OutOfMemory, Cancelled: a call failed; no row has advanced.
            NotResident: the device can't update latents; `takes` is False from then on.
        """

    def decode(self, row: ResidentTrajectory) -> Levels | None:
        """Return the levels [3, h, w] of a finished row; None if it must be decoded from the host.

        Raises:
            ModelBroken, GenerationFailed, Cancelled: the call failed.
        """


def resident_latents(model: Model) -> ResidentLatents | None:
    """Return what keeps a model's latents on its device; None if they are on the host."""
    return getattr(model, "resident", None)


def coefficients_of(calls: Sequence[ResidentCall], terms: int) -> Array:
    """Return the numbers that a step sends, [rows, columns]."""
    rows = np.zeros((len(calls), Column.WEIGHTS + terms), np.float32)
    for row, call in zip(rows, calls, strict=True):
        own = call.row.coefficients
        row[: len(own)] = own
        row[Column.SCALE], row[Column.RESCALE] = call.scale, call.rescale
    return rows
