"""UniPC: Zhao et al. 2302.04867, the data-prediction form, order 1 to 3.

Predictor (eq. 9) and corrector (eq. 8) of a step start from the same x and carry it by the same factor: they differ in
the weights of the predictions alone. So correcting x_i, one call late, only adds terms to the row of call i.
"""

import math

import numpy as np

from .path import Path
from .table import Floats, Table


def unipc(
    path: Path,
    *,
    order: int = 2,
    bh1: bool = False,
    lower_order_final: bool = True,
    disable_corrector: tuple[int, ...] = (),
) -> Table:
    """UniPC-p with B(h) = e^h - 1 (bh2) or h (bh1); no corrector after the steps listed."""
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
    """Return the weights [k + 1] of D_{i+1} (not known yet: 0), D_i, D_{i-1}, ..., per alpha_{i+1}."""
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
    """Weigh D_i by phi_1 and each difference (D_m - D_i) / r_m by -B(h) rho_m."""
    if h == 0:
        return np.zeros(len(r) + 1)  # the step leads nowhere
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
    """B(h) of the paper, for data prediction."""
    return float(-h if bh1 else np.expm1(-h))
