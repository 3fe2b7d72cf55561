"""DPM-Solver++ singlestep: groups of up to three calls, each group one step of its order.

Lu et al. 2211.01095, alg. 1, on a grid that was chosen before: as diffusers' DPMSolverSinglestepScheduler, where each
call also lands on the next point, one order lower. Call j of a group begins again where the group began; as all carry
x by the same factor from there, that only adds terms to the row of call j.
"""

import numpy as np

from .path import Path
from .table import Floats, Table


def dpmpp_single(path: Path, *, order: int = 2, heun: bool = False, lower_order_final: bool = False) -> Table:
    """DPM-Solver++ singlestep, order 1 to 3; `heun` and `lower_order_final` as in the multistep one.

    `order` calls make one step of that order, so n calls make n / order of them.
    """
    lambdas, decay = path.lambdas, path.sigma_to / path.sigma
    total = np.zeros((len(path), order))
    orders = _orders(path, order, lower_order_final=lower_order_final)
    for i, k in enumerate(orders):
        way = lambdas[i - k + 1 : i + 2] - lambdas[i - k + 1]
        total[i, :k] = path.alpha_to[i] * _weights(way[-2:0:-1], way[-1], heun=heun)
    b = total.copy()
    for i, k in enumerate(orders):
        if k > 1:
            b[i, 1:] -= decay[i] * total[i - 1, :-1]
    return path.table(path.denoised, decay, b)


def _orders(path: Path, order: int, *, lower_order_final: bool) -> list[int]:
    """Return the place [n] of each call in its group, which is the order it reaches."""
    n = len(path) + path.skipped
    orders = [i % order + 1 for i in range(n)]
    if path.sigma_to[-1] == 0 or (lower_order_final and n % order == 0):
        orders[-1] = 1
    return [min(k, i + 1) for i, k in enumerate(orders[path.skipped :])]


def _weights(way: Floats, z: float, *, heun: bool) -> Floats:
    """Return the weights [k] of the predictions, newest first.

    z is the step in lambda from the group's start, way [k - 1] how far the later calls are from there, newest first.
    """
    if z == 0:
        return np.zeros(len(way) + 1)  # the step leads nowhere
    phi_1 = float(-np.expm1(-z))
    start = np.eye(len(way) + 1)[-1]
    if len(way) == 0:
        return np.asarray(phi_1 * start)
    phi_2 = 1 - phi_1 / z
    slopes = (np.eye(len(way) + 1)[:-1] - start) * (z / way)[:, None]
    if len(way) == 1:
        return np.asarray(phi_1 * start + (phi_2 if heun else phi_1 / 2) * slopes[0])
    if not heun:
        return np.asarray(phi_1 * start + phi_2 * slopes[0])
    far, near = way / z
    slope = (far * slopes[1] - near * slopes[0]) / (far - near)
    bend = 2 * (slopes[0] - slopes[1]) / (far - near)
    return np.asarray(phi_1 * start + phi_2 * slope - (phi_2 / z - 0.5) * bend)
