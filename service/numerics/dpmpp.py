"""DPM-Solver++, multistep and singlestep: an exponential integrator in lambda = log(alpha / sigma), on `denoised`.

Lu et al. 2211.01095. x' = sigma'/sigma x + alpha' int e^(lambda - lambda') x0 dlambda is exact. The multistep solver of
order k replaces x0 by the polynomial through the last k predictions. The SDE form solves the reverse SDE instead of the
probability flow: its exponent is doubled, and fresh noise is added.

Third order: the authors' code, k-diffusion and diffusers all give the second difference half the weight that the third
order needs. The result is of order 2, with a smaller error than the second-order solver; it is kept here. In the SDE
form diffusers (0.42) also has a wrong sign, which costs one more order; here it is k-diffusion's `sample_dpmpp_3m_sde`.

Singlestep: groups of up to three calls, each group one step of its order, on a grid chosen in advance. As in diffusers'
DPMSolverSinglestepScheduler, each call also lands on the next point, one order lower. Call j of a group starts again
from the start of the group. All calls multiply the x of that start by the same factor, so this only adds terms to the
row of call j.
"""

import numpy as np

from .path import Path
from .table import Floats, Table


def dpmpp(
    path: Path,
    *,
    order: int = 2,
    sde: bool = False,
    heun: bool = False,
    lower_order_final: bool = True,
    euler_at_final: bool = False,
) -> Table:
    """DPM-Solver++ multistep, order 1 to 3: Lu et al. 2211.01095, alg. 2; its SDE form, eq. 18 and 19.

    `heun` selects the other second-order form. `lower_order_final` and `euler_at_final` lower the order at the end.
    """
    h = np.diff(path.lambdas)
    speed = 2 if sde else 1
    b = np.zeros((len(path), order))
    orders = path.orders(order, lower_order_final=lower_order_final)
    if euler_at_final or path.sigma_to[-1] == 0:
        orders[-1] = 1
    for i, k in enumerate(orders):
        b[i, :k] = path.alpha_to[i] * _weights(h[i - k + 1 : i + 1][::-1], speed * h[i], heun=heun)
    decay = path.sigma_to / path.sigma
    if not sde:
        return path.table(path.denoised, decay, b)
    return path.table(path.denoised, decay * np.exp(-h), b, path.sigma_to * np.sqrt(-np.expm1(-2 * h)))


def _weights(h: Floats, z: float, *, heun: bool) -> Floats:
    """Return the weights [k] of the predictions, newest first; h are the last k steps in lambda, newest first."""
    if z == 0:
        return np.zeros(len(h))  # an empty step: the run ends at its current level
    phi_1 = float(-np.expm1(-z))
    newest = np.eye(len(h))[0]
    if len(h) == 1:
        return np.asarray(phi_1 * newest)
    phi_2 = 1 - phi_1 / z
    r = h[1:] / h[0]
    slope = (newest - np.eye(len(h))[1]) / r[0]
    if len(h) == 2:
        return np.asarray(phi_1 * newest + (phi_2 if heun else phi_1 / 2) * slope)
    before = np.array([0.0, 1.0, -1.0]) / r[1]
    curvature = (slope - before) / (r[0] + r[1])
    return np.asarray(phi_1 * newest + phi_2 * (slope + r[0] * curvature) - (phi_2 / z - 0.5) * curvature)


def dpmpp_single(path: Path, *, order: int = 2, heun: bool = False, lower_order_final: bool = False) -> Table:
    """DPM-Solver++ singlestep, order 1 to 3: Lu et al. 2211.01095, alg. 1; options as for `dpmpp`.

    `order` calls make one step of that order, so n calls make n / order steps.
    """
    lambdas, decay = path.lambdas, path.sigma_to / path.sigma
    total = np.zeros((len(path), order))
    orders = _single_orders(path, order, lower_order_final=lower_order_final)
    for i, k in enumerate(orders):
        offsets = lambdas[i - k + 1 : i + 2] - lambdas[i - k + 1]
        total[i, :k] = path.alpha_to[i] * _single_weights(offsets[-2:0:-1], offsets[-1], heun=heun)
    b = total.copy()
    for i, k in enumerate(orders):
        if k > 1:
            b[i, 1:] -= decay[i] * total[i - 1, :-1]
    return path.table(path.denoised, decay, b)


def _single_orders(path: Path, order: int, *, lower_order_final: bool) -> list[int]:
    """Return the position [n] of each call in its group, which is the order that it reaches."""
    n = len(path) + path.skipped
    orders = [i % order + 1 for i in range(n)]
    if path.sigma_to[-1] == 0 or (lower_order_final and n % order == 0):
        orders[-1] = 1
    return [min(k, i + 1) for i, k in enumerate(orders[path.skipped :])]


def _single_weights(offsets: Floats, z: float, *, heun: bool) -> Floats:
    """Return the weights [k] of the predictions, newest first.

    Both arguments are measured in lambda from the start of the group: z is the end of the step, and offsets [k - 1] are
    the later calls, newest first.
    """
    if z == 0:
        return np.zeros(len(offsets) + 1)  # an empty step changes nothing
    phi_1 = float(-np.expm1(-z))
    start = np.eye(len(offsets) + 1)[-1]
    if len(offsets) == 0:
        return np.asarray(phi_1 * start)
    phi_2 = 1 - phi_1 / z
    slopes = (np.eye(len(offsets) + 1)[:-1] - start) * (z / offsets)[:, None]
    if len(offsets) == 1:
        return np.asarray(phi_1 * start + (phi_2 if heun else phi_1 / 2) * slopes[0])
    if not heun:
        return np.asarray(phi_1 * start + phi_2 * slopes[0])
    far, near = offsets / z
    slope = (far * slopes[1] - near * slopes[0]) / (far - near)
    curvature = 2 * (slopes[0] - slopes[1]) / (far - near)
    return np.asarray(phi_1 * start + phi_2 * slope - (phi_2 / z - 0.5) * curvature)
