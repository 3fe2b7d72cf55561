"""Linear multistep samplers on the predicted noise: PLMS, LMS and DEIS.

In y = x / alpha and rho = sigma / alpha the probability flow is dy/drho = noise. Each of them replaces noise over
[rho_i, rho_{i+1}] by the polynomial through the last k predictions, and integrates that exactly.
"""

from collections.abc import Callable

import numpy as np

from .path import Path
from .table import Floats, Table

GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(24)
"""Points and weights on [-1, 1]: exact for LMS, to 1e-14 for DEIS."""

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def plms(path: Path) -> Table:
    """PLMS: Liu et al. 2202.09778, F-PNDM without its Runge-Kutta warm-up; n + 1 calls.

    Steps are taken as if evenly spaced, which makes the weights those of Adams and Bashforth.
    The second call redoes the first step, from where it began, with the mean of two predictions (eq. 22).
    The history holds the network's output: other predictions than noise are translated after they are combined.
    """
    n = len(path)
    points = [0, 1, *range(1, n)] if n > 1 else [0]
    p, q = path.noise
    change = path.sigma_to - path.alpha_to / path.alpha * path.sigma
    keep, step = path.alpha_to / path.alpha + change * p, change * q
    a, b = np.array([keep[max(i - 1, 0)] for i in range(len(points))]), np.zeros((len(points), 5))
    b[0, 0] = step[0]
    for i in range(2, len(points)):
        weights = ADAMS_BASHFORTH[min(i, 4) - 1]
        ages = [i - call for call in (*range(i, 1, -1), 0)]  # call 1 is never used again
        b[i, ages[: len(weights)]] = step[i - 1] * np.array(weights)
    if n > 1:  # call 1 begins where call 0 began, at (x - b[0, 0] D_0) / a[0]
        a[1], b[1, :2] = 1.0, (step[0] / 2, -step[0] / 2)
    calls = path.visit(points)
    return calls.table(calls.output, a, b)


def lms(path: Path, *, order: int = 4) -> Table:
    """LMS: the polynomial in rho, k-diffusion's `sample_lms` (Katherine Crowson)."""
    return _adams(path, path.rho, np.ones_like, [min(order, i + 1) for i in range(len(path))])


def deis(path: Path, *, order: int = 2, lower_order_final: bool = True) -> Table:
    """DEIS: the polynomial in log rho, Zhang & Chen 2204.13902, section 3.2 (log rho-AB)."""
    orders = path.orders(order, lower_order_final=lower_order_final)
    if path.sigma_to[-1] == 0:
        orders[-1] = 1  # the last step in log rho is infinite
    with np.errstate(divide="ignore"):
        return _adams(path, np.log(path.rho), np.exp, orders)


def _adams(path: Path, nodes: Floats, density: Callable[[Floats], Floats], orders: list[int]) -> Table:
    """Integrate the polynomial through (nodes_{i-k+1..i}, noise) over each step; density is drho / dnode."""
    rho, b = path.rho, np.zeros((len(path), max(orders)))
    for i, k in enumerate(orders):
        known = nodes[i - k + 1 : i + 1][::-1]
        b[i, :k] = path.alpha_to[i] * (_integrals(known, nodes[i + 1], density) if k > 1 else rho[i + 1] - rho[i])
    return path.table(path.noise, path.alpha_to / path.alpha, b)


def _integrals(known: Floats, end: float, density: Callable[[Floats], Floats]) -> Floats:
    """Return the integrals [k > 1] of the Lagrange basis on the known nodes from the first of them to the end."""
    points, weights = GAUSS_LEGENDRE
    scale, powers = known[0] - known[1], np.arange(len(known))[:, None]
    half = (end - known[0]) / 2
    u = half * (points + 1)
    moments = (u / scale) ** powers @ (density(known[0] + u) * weights) * half
    return np.asarray(np.linalg.solve(((known - known[0]) / scale) ** powers, moments))
