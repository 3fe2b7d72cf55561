"""A sampler is a table of coefficients.

Every step of a sampler is linear in x, the model's outputs and the noise, so all coefficients are known before the
first model call. For call i, with x [c, h, w] in the model's own scale:

    out_i = model(x, timesteps[i])
    D_i   = p[i] * x + q[i] * out_i
    x     = a[i] * x + sum_j b[i, j] * D_{i-j} + d[i] * noise_i         j = 0 .. K-1, noise_i ~ N(0, 1)

A sampler that calls its model twice per step (Heun) has more calls than steps; the rule is the same.

Before call i, x is distributed as alphas[i] * x0 + sigmas[i] * N(0, 1). The clean latents are estimated as
x0_i = p0[i] * x + q0[i] * out_i.

Every sampler uses the model's own frame: alpha^2 + sigma^2 = 1 (epsilon, v, sample) or alpha + sigma = 1 (flow).
k-diffusion's x is this x divided by alpha, and its sigma is this sigma divided by alpha. In the model's frame the
network input needs no scaling, and x stays near unit variance, which suits half precision.
docs/samplers.md derives two rows of the table from their loops.
"""

from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class NotFinite(ValueError):
    """A coefficient is infinite or undefined: the noise levels do not suit the sampler."""


class Coefficients(NamedTuple):
    """The numbers of one call, as in `Table`; `b` are K weights, newest first."""

    timestep: float
    p: float
    q: float
    a: float
    b: tuple[float, ...]
    d: float


@dataclass(frozen=True, eq=False, slots=True)
class Table:
    """The coefficients of one sampler for one number of steps, float64: n model calls, a history of K.

    Raises:
        NotFinite: a coefficient is infinite or not a number.
        ValueError: the shapes do not match, or a row reads history from before the first call.
    """

    timesteps: Floats
    """[n] the model's time input."""
    p: Floats
    q: Floats
    """[n] D = p * x + q * out."""
    a: Floats
    """[n] the factor of x."""
    b: Floats
    """[n, K] weights of D, newest first."""
    d: Floats
    """[n] standard deviation of the fresh noise; where it is 0, none is drawn."""
    p0: Floats
    q0: Floats
    """[n] x0 = p0 * x + q0 * out, for previews."""
    alphas: Floats
    sigmas: Floats
    """[n + 1] x = alpha * x0 + sigma * noise, before each call and after the last; sigmas decrease, usually to 0."""
    init: float
    """Text-to-image starts at x = init * N(0, 1)."""
    calls: tuple[Coefficients, ...] = field(init=False, repr=False)
    """[n] what each call reads: numbers of Python, since reading an element of an array takes ten times as long."""

    def __post_init__(self) -> None:
        n, columns = len(self), self.b.shape[1] if self.b.ndim == 2 else 0
        shapes = {"b": (n, columns), "alphas": (n + 1,), "sigmas": (n + 1,)}
        for name in (f.name for f in fields(self) if f.name not in {"init", "calls"}):
            array = getattr(self, name)
            if array.shape != shapes.get(name, (n,)):
                raise ValueError(f"{name} has shape {array.shape}, not {shapes.get(name, (n,))}")
            if not np.isfinite(array).all():
                raise NotFinite(f"{name} is not finite")
            array.setflags(write=False)
        if n == 0 or columns == 0:
            raise ValueError("a table needs at least one call and a history of at least one output")
        if np.triu(self.b[:columns], 1).any():
            raise ValueError("b reads history from before the first call")
        timesteps, p, q, a, b, d = (each.tolist() for each in (self.timesteps, self.p, self.q, self.a, self.b, self.d))
        columns_of_calls = timesteps, p, q, a, map(tuple, b), d
        object.__setattr__(self, "calls", tuple(map(Coefficients._make, zip(*columns_of_calls, strict=True))))

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def history(self) -> int:
        """K: the number of D that a row keeps, including the newest."""
        return int(self.b.shape[1])

    @property
    def stochastic(self) -> bool:
        """Whether any call draws fresh noise."""
        return bool(self.d.any())
