"""The shift of a flow's levels: more of the steps where there is more noise, the more so for larger images."""

import math
from dataclasses import dataclass

from .choices import Incompatible
from .table import Floats


@dataclass(frozen=True, slots=True)
class Shift:
    """s' = k s / (1 + (k - 1) s): Esser et al. 2403.03206, eq. 23."""

    amount: float = 1.0
    """k, or where `dynamic`, unused."""
    dynamic: bool = False
    """k = exp(mu), mu linear in the number of image tokens (FLUX)."""
    tokens: tuple[int, int] = (256, 4096)
    mu: tuple[float, float] = (0.5, 1.15)
    exponential: bool = True
    """Whether k is exp(mu), or mu itself."""
    terminal: float | None = None
    """Stretch the levels so that the last one is this."""

    def __call__(self, s: Floats, image_tokens: int | None = None) -> Floats:
        """Shift levels [n] in 0..1."""
        k = self._factor(image_tokens)
        s = k * s / (1 + (k - 1) * s)
        if self.terminal and s[-1] < 1:  # a single step ends where it begins
            s = 1 - (1 - s) / ((1 - s[-1]) / (1 - self.terminal))
        return s

    def _factor(self, image_tokens: int | None) -> float:
        if not self.dynamic:
            return self.amount
        if image_tokens is None:
            raise Incompatible("image_tokens", None, "must be given: this model's schedule depends on the image's size")
        slope = (self.mu[1] - self.mu[0]) / (self.tokens[1] - self.tokens[0])
        mu = self.mu[0] + slope * (image_tokens - self.tokens[0])
        return math.exp(mu) if self.exponential else mu
