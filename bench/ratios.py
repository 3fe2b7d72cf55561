"""Ratios of two series of measurements, by round."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def ratio_and_range(ours: Iterable[float], theirs: Iterable[float], digits: int = 2) -> str:
    """Return the median of the ratios of all rounds, with their range: `1.02 (0.98 to 1.10)`."""
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    median, low, high = (f"{value:.{digits}f}" for value in (statistics.median(ratios), ratios[0], ratios[-1]))
    return f"{median} ({low} to {high})"
