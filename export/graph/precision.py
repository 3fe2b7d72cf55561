"""In which numbers a model is stored, and in which it computes: one row for each precision.

What computes in float16 is for GPUs alone, where it halves memory and time: CPUs have hardly a kernel for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import weights

if TYPE_CHECKING:
    from ..components.component import Component
    from .weights import Store

CPU, GPU = TARGETS = ("cpu", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """One row: how weights are stored, in how many bytes each, and whether a GPU computes in float16.

    `limits` are the largest differences from torch that a component may have, on a CPU and on a GPU, relative to the
    largest value that it gives; `apart` by how many of 255 any value of the picture may differ.
    """

    name: str
    store: Store
    width: int
    narrow: bool
    limits: tuple[float, float]
    apart: tuple[float, float]

    def half(self, target: str, component: Component) -> bool:
        """Whether a component computes in float16 on `target`."""
        return self.narrow and target == GPU and not component.wide

    def rounds(self, target: str) -> bool:
        """Whether weights are rounded to float16 before anything else."""
        return self.store is weights.as_half or (self.narrow and target == GPU)

    def stored(self, *, half: bool) -> Store:
        """Return how the weights of a graph are stored, which are float16 already if it computes so."""
        return weights.as_it_is if half and self.store is weights.as_half else self.store

    def limit(self, target: str) -> float:
        """Return the largest difference of a component."""
        return self.limits[TARGETS.index(target)]

    def levels(self, target: str) -> float:
        """Return the largest difference of the picture."""
        return self.apart[TARGETS.index(target)]


PRECISIONS = {
    row.name: row
    for row in (
        Precision(name="fp32", store=weights.as_it_is, width=4, narrow=False, limits=(1e-3, 1e-3), apart=(2, 2)),
        Precision(name="fp16", store=weights.as_half, width=2, narrow=True, limits=(1e-3, 1e-2), apart=(2, 16)),
        Precision(name="int8", store=weights.as_int8, width=1, narrow=True, limits=(0.1, 0.1), apart=(64, 64)),
    )
}
