"""Number formats of stored weights and of arithmetic, one row for each precision.

Only GPUs compute in float16, which halves memory and time there. CPUs have almost no kernels for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import weights

if TYPE_CHECKING:
    from ..components.component import Component
    from .weights import Store

GPU = "gpu"
TARGETS = ("cpu", GPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How weights are stored, the bytes of each, and whether a GPU computes in float16.

    `component_limits` are the largest allowed differences of a component from torch, relative to its largest output.
    `image_limits` are those of the whole image, in levels of 255. Both are for the targets cpu and gpu.
    """

    name: str
    store: Store
    bytes_per_weight: int
    float16_on_gpu: bool
    component_limits: tuple[float, float]
    image_limits: tuple[float, float]

    def computes_float16(self, target: str, component: Component) -> bool:
        """Whether a component computes in float16 on `target`."""
        return self.float16_on_gpu and target == GPU and not component.float32_only

    def rounds_weights(self, target: str) -> bool:
        """Whether weights are rounded to float16 before tracing."""
        return self.store is weights.as_float16 or (self.float16_on_gpu and target == GPU)

    def store_for(self, *, half: bool) -> Store:
        """Return the storage of a graph's weights; with `half` they are float16 already."""
        return weights.unchanged if half and self.store is weights.as_float16 else self.store

    def component_limit(self, target: str) -> float:
        """Return the largest allowed difference of a component."""
        return self.component_limits[TARGETS.index(target)]

    def image_limit(self, target: str) -> float:
        """Return the largest allowed difference of the image, in levels of 255."""
        return self.image_limits[TARGETS.index(target)]


PRECISIONS = {
    row.name: row
    for row in (
        Precision(
            name="fp32",
            store=weights.unchanged,
            bytes_per_weight=4,
            float16_on_gpu=False,
            component_limits=(1e-3, 1e-3),
            image_limits=(2, 2),
        ),
        Precision(
            name="fp16",
            store=weights.as_float16,
            bytes_per_weight=2,
            float16_on_gpu=True,
            component_limits=(1e-3, 1e-2),
            image_limits=(2, 16),
        ),
        Precision(
            name="int8",
            store=weights.as_int8,
            bytes_per_weight=1,
            float16_on_gpu=True,
            component_limits=(0.1, 0.1),
            image_limits=(64, 64),
        ),
    )
}
