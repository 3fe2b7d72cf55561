"""Multistep samplers: PLMS, LMS and DEIS on the predicted noise, UniPC on the predicted clean latents.

In y = x / alpha and rho = sigma / alpha the probability flow is dy/drho = noise. PLMS, LMS and DEIS replace noise over
[rho_i, rho_{i+1}] by the polynomial through the last k predictions and integrate that polynomial exactly.

UniPC is Zhao et al. 2302.04867 in its data-prediction form. Predictor (eq. 9) and corrector (eq. 8) of a step start
from the same x and multiply it by the same factor; they differ only in the weights of the predictions. So correcting
x_i one call later only adds terms to the row of call i.
"""

import math
from collections.abc import Callable

import numpy as np

from .path import Path
from .table import Floats, Table

GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(24)
"""Points and weights on [-1, 1]: exact for LMS, within 1e-14 for DEIS."""

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def plms(path: Path) -> Table:
    """PLMS: Liu et al. 2202.09778, F-PNDM without its Runge-Kutta warm-up; n + 1 calls.

    Steps count as evenly spaced, so the weights are those of Adams and Bashforth.
    The second call repeats the first step from its start, with the mean of two predictions (eq. 22).
    The history holds the network's output; predictions other than noise are converted after they are combined.
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
        ages = [i - call for call in (*range(i, 1, -1), 0)]  # the output of call 1 is not used again
        b[i, ages[: len(weights)]] = step[i - 1] * np.array(weights)
    if n > 1:  # call 1 starts again from the x of call 0, (x - b[0, 0] D_0) / a[0]
        a[1], b[1, :2] = 1.0, (step[0] / 2, -step[0] / 2)
    calls = path.select(points)
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
    """Return the integrals [k > 1] of the Lagrange basis on the known nodes, from the first node to `end`."""
    points, weights = GAUSS_LEGENDRE
    scale, powers = known[0] - known[1], np.arange(len(known))[:, None]
    half = (end - known[0]) / 2
    u = half * (points + 1)
    moments = (u / scale) ** powers @ (density(known[0] + u) * weights) * half
    return np.asarray(np.linalg.solve(((known - known[0]) / scale) ** powers, moments))


def unipc(
    path: Path,
    *,
    order: int = 2,
    bh1: bool = False,
    lower_order_final: bool = True,
    disable_corrector: tuple[int, ...] = (),
) -> Table:
    """UniPC-p, order 1 to 3, with B(h) = e^h - 1 (bh2) or h (bh1).

    No corrector runs after the steps in `disable_corrector`.
    """
    n, lambdas = len(path), path.lambdas
    orders = [min(order, i + 1, n - i if lower_order_final else order) for i in range(n)]
    if path.sigma_to[-1] == 0:
        orders[-1] = 1  # the last step in lambda is infinite
    a, b = path.sigma_to / path.sigma, np.zeros((n, order + 1))
    for i, k in enumerate(orders):
        b[i, :k] = _predictor(lambdas, i, k, bh1=bh1)[1:] * path.alpha_to[i]
        if i and i - 1 + path.skipped not in disable_corrector:
            last = orders[i - 1]
            change = _corrector(lambdas, i - 1, last, bh1=bh1) - _predictor(lambdas, i - 1, last, bh1=bh1)
            b[i, : last + 1] += a[i] * change * path.alpha_to[i - 1]
    return path.table(path.denoised, a, b)


def _predictor(lambdas: Floats, i: int, k: int, *, bh1: bool) -> Floats:
    """Return the weights [k + 1] of D_{i+1} (still unknown: 0), D_i, D_{i-1}, ..., per alpha_{i+1}."""
    h = lambdas[i + 1] - lambdas[i]
    r = (lambdas[i - 1 :: -1][: k - 1] - lambdas[i]) / h if k > 1 else np.zeros(0)
    return _combine(np.append(r, 1.0), np.append(_rho(r, h, bh1=bh1), 0.0), h, bh1=bh1)


def _corrector(lambdas: Floats, i: int, k: int, *, bh1: bool) -> Floats:
    """Return the weights [k + 1] of D_{i+1}, D_i, D_{i-1}, ..., per alpha_{i+1}."""
    h = lambdas[i + 1] - lambdas[i]
    r = (lambdas[i - 1 :: -1][: k - 1] - lambdas[i]) / h if k > 1 else np.zeros(0)
    r = np.append(r, 1.0)
    return _combine(r, _rho(r, h, bh1=bh1), h, bh1=bh1)


def _combine(r: Floats, rho: Floats, h: float, *, bh1: bool) -> Floats:
    """Return the weights of D that give D_i the weight phi_1 and each (D_m - D_i) / r_m the weight -B(h) rho_m."""
    if h == 0:
        return np.zeros(len(r) + 1)  # an empty step changes nothing
    base = _base(h, bh1=bh1) if rho.any() else 0.0
    share = -base * rho / r
    return np.concatenate([share[-1:], [-np.expm1(-h) - share.sum()], share[:-1]])


def _rho(r: Floats, h: float, *, bh1: bool) -> Floats:
    """Solve the order conditions sum_m rho_m r_m^(j-1) = j! phi_{j+1}(-h) (-h) / B(h), j = 1 .. len(r) (eq. 11)."""
    if len(r) == 0 or h == 0:
        return np.zeros(len(r))
    if len(r) == 1:
        return np.array([0.5])  # the paper's choice, independent of h
    rows, right, phi = [], [], np.expm1(-h) / -h - 1
    for j in range(1, len(r) + 1):
        rows.append(r ** (j - 1))
        right.append(phi * math.factorial(j) / _base(h, bh1=bh1))
        phi = phi / -h - 1 / math.factorial(j + 1)
    return np.linalg.solve(np.array(rows), np.array(right))


def _base(h: float, *, bh1: bool) -> float:
    """Return B(h) of the paper, for data prediction."""
    return float(-h if bh1 else np.expm1(-h))
