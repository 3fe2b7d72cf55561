"""Samplers with an exact denoiser: their order of convergence and their end point."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from tests.support.numerics.configs import BUILT_IN, FLOW, SD
from tests.support.numerics.gaussian import MU, S, network, run, smooth_path
from tintype.service.numerics import Diffusion, Prediction, Table, make_table, samplers_for
from tintype.service.numerics.dpmpp import dpmpp, dpmpp_single
from tintype.service.numerics.multistep import deis, lms, plms, unipc
from tintype.service.numerics.onestep import (
    ddim,
    ddpm,
    dpm2,
    dpm2_ancestral,
    dpmpp_2s_ancestral,
    dpmpp_sde,
    euler_ancestral,
    flow_ancestral,
    flow_heun,
    heun,
)
from tintype.service.numerics.path import Path

Solve = Callable[[Path], Table]


def flow_end(x: float, table: Table) -> float:
    """Return the exact end of the probability flow from x."""
    (a, a_to), (s, s_to) = table.alphas[[0, -1]], table.sigmas[[0, -1]]
    return float(a_to * MU + (x - a * MU) * np.sqrt((a_to**2 * S**2 + s_to**2) / (a**2 * S**2 + s**2)))


def error(table: Table, prediction: Prediction = Prediction.EPSILON, x: float = 1.3) -> float:
    one = np.ones(1)
    end = run(table, prediction, np.array([x]), one, np.zeros(len(table)))
    return float(abs(end[0] - flow_end(x, table)))


def mean_and_variance(table: Table, prediction: Prediction) -> tuple[float, float]:
    """Return the exact moments over all seeds; x is a vector over (1, initial noise, noise of call 0, 1, ...)."""
    basis = np.eye(len(table) + 2)
    end = run(table, prediction, table.init * basis[1], basis[0], basis[2:])
    return float(end[0]), float((end[1:] ** 2).sum())


def slope(solve: Solve, coarse: int = 60) -> float:
    """Return the order of convergence, measured between n and 2n steps."""
    first, second = (error(solve(smooth_path(n))) for n in (coarse, 2 * coarse))
    return float(np.log2(first / second))


ORDERS: dict[str, tuple[Solve, float]] = {
    "ddim": (ddim, 1),
    "heun": (heun, 2),
    "plms": (plms, 2),  # its weights treat uneven steps as even
    "lms 1": (partial(lms, order=1), 1),
    "lms 4": (lms, 2),  # its first step is Euler's, and its error remains
    "deis 2": (partial(deis, order=2), 2),
    "dpmpp 1": (partial(dpmpp, order=1), 1),
    "dpmpp 2": (partial(dpmpp, order=2), 2),
    "dpmpp 2 heun": (partial(dpmpp, order=2, heun=True), 2),
    "dpm2": (dpm2, 2),
    "dpmpp 2s": (partial(dpmpp_single, order=2), 2),
    "dpmpp 2s heun": (partial(dpmpp_single, order=2, heun=True), 2),
    "dpmpp 3s": (partial(dpmpp_single, order=3), 3),
    "dpmpp 3s heun": (partial(dpmpp_single, order=3, heun=True), 3),
    "unipc 1": (partial(unipc, order=1, lower_order_final=False), 2),  # the corrector adds one
    "unipc 2": (partial(unipc, order=2, lower_order_final=False), 3),
    "unipc 2 bh1": (partial(unipc, order=2, bh1=True, lower_order_final=False), 3),
}


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(name: str) -> None:
    """Doubling the steps reduces the error by 2^order, as in the sampler's paper."""
    solve, order = ORDERS[name]
    assert order - 0.25 < slope(solve) < order + 0.75


def local_error(solve: Solve, n: int) -> float:
    """Return the error of one step in the middle of a run with exact x and history."""
    path = smooth_path(n)
    table = solve(path)
    alphas, sigmas, one = table.alphas, table.sigmas, np.ones(1)
    x = alphas * MU + 1.3 * np.sqrt(alphas**2 * S**2 + sigmas**2)  # on the exact flow
    outs = [network(Prediction.EPSILON, x[i : i + 1], alphas[i], sigmas[i], one)[0] for i in range(n)]
    i = n // 2
    history = [table.p[i - j] * x[i - j] + table.q[i - j] * outs[i - j] for j in range(table.history)]
    return float(abs(table.a[i] * x[i] + table.b[i] @ history - x[i + 1]))


LOCAL: dict[str, tuple[Solve, int]] = {
    "lms 2": (partial(lms, order=2), 2),
    "lms 3": (partial(lms, order=3), 3),
    "lms 4": (lms, 4),
    "deis 3": (partial(deis, order=3), 3),
    "dpmpp 2": (partial(dpmpp, order=2), 2),
    "dpmpp 3": (partial(dpmpp, order=3), 2),  # as its authors published it, see dpmpp.py
    "unipc 3": (partial(unipc, order=3, lower_order_final=False), 4),  # the corrector adds one
    "unipc 3 bh1": (partial(unipc, order=3, bh1=True, lower_order_final=False), 4),
}


@pytest.mark.parametrize("name", LOCAL)
def test_order_of_one_step(name: str) -> None:
    """With an exact history, one step of order k has an error of h^(k+1)."""
    solve, order = LOCAL[name]
    coarse, fine = (local_error(solve, n) for n in (96, 192))
    assert order + 0.7 < np.log2(coarse / fine) < order + 2


@pytest.mark.parametrize("solve", [ddim, partial(dpmpp, order=3), unipc, heun, lms, deis])
@pytest.mark.parametrize("prediction", [Prediction.EPSILON, Prediction.V, Prediction.EDM, Prediction.SAMPLE])
def test_equivalent_predictions_give_one_result(solve: Solve, prediction: Prediction) -> None:
    """One denoiser expressed as epsilon, v or sample gives the same result."""
    base = solve(smooth_path(12))
    other = solve(smooth_path(12, prediction))
    one, x = np.ones(1), np.array([1.3])
    ends = [run(t, p, x, one, np.zeros(len(t))) for t, p in ((base, Prediction.EPSILON), (other, prediction))]
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


@pytest.mark.parametrize("solve", [ddim, partial(dpmpp, order=2), partial(dpmpp, order=3), unipc, heun, lms, deis])
def test_flow_and_diffusion_frames_are_equivalent(solve: Solve) -> None:
    """A flow is a scaled diffusion: with equal noise-to-signal ratios, a sampler ends at the same point."""
    diffusion, flow = smooth_path(12), smooth_path(12, Prediction.FLOW)
    tables = [solve(diffusion), solve(flow)]
    ends = []
    for table, prediction in zip(tables, (Prediction.EPSILON, Prediction.FLOW), strict=True):
        x = np.array([1.3]) * table.alphas[0]
        ends.append(run(table, prediction, x, np.ones(1), np.zeros(len(table))) / table.alphas[-1])
    assert ends[0] == pytest.approx(ends[1], rel=1e-12)


CONFIGS = {"epsilon": SD, "zero-SNR v": BUILT_IN}
DIFFUSIONS = {
    name: Diffusion.from_config(
        {"_class_name": "DDIMScheduler", "clip_sample": False, "original_inference_steps": 250, **config}
    )
    for name, config in CONFIGS.items()
}
DIFFUSIONS["flow"] = FLOW
ENDS_ABOVE_ZERO = {"deis": 0.03, "plms": 0.03, "tcd": 0.03}  # they end on the lowest trained level


PAIRS = [(kind, name) for kind, diffusion in DIFFUSIONS.items() for name in samplers_for(diffusion)]


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_every_sampler_reaches_the_data(kind: str, name: str) -> None:
    """From pure noise, with many steps, every sampler ends with the data's mean and variance over all seeds."""
    diffusion = DIFFUSIONS[kind]
    steps = 50 if name == "lcm" else 125
    mean, variance = mean_and_variance(make_table(diffusion, steps, sampler=name), diffusion.prediction)
    if name == "lcm":  # ends on E[x0 | x]: correct mean, smaller variance
        assert mean == pytest.approx(MU, abs=0.05)
        assert 0 < variance < S**2
        return
    assert mean == pytest.approx(MU, abs=0.02)
    assert np.sqrt(variance) == pytest.approx(S, abs=0.03 + ENDS_ABOVE_ZERO.get(name, 0))


def variance_error(table: Table, prediction: Prediction) -> float:
    """Return the error of the variance over all seeds, from data at the first level; the mean is exact."""
    (a, a_to), (s, s_to) = table.alphas[[0, -1]], table.sigmas[[0, -1]]
    basis = np.eye(len(table) + 2)
    start = a * MU * basis[0] + np.sqrt(a**2 * S**2 + s**2) * basis[1]
    end = run(table, prediction, start, basis[0], basis[2:])
    assert end[0] == pytest.approx(a_to * MU, abs=1e-9)
    return float(abs((end[1:] ** 2).sum() - (a_to**2 * S**2 + s_to**2)))


LAWS: dict[str, tuple[Solve, Prediction, int]] = {
    "ddpm": (ddpm, Prediction.EPSILON, 1),
    "ddim eta 1": (partial(ddim, eta=1.0), Prediction.EPSILON, 1),
    "euler ancestral": (euler_ancestral, Prediction.EPSILON, 1),
    "euler ancestral, flow": (flow_ancestral, Prediction.FLOW, 1),
    "dpm2 ancestral": (dpm2_ancestral, Prediction.EPSILON, 2),
    "dpmpp 2s ancestral": (dpmpp_2s_ancestral, Prediction.EPSILON, 2),
    "dpmpp sde": (dpmpp_sde, Prediction.EPSILON, 2),
    "dpmpp 2m sde": (partial(dpmpp, sde=True), Prediction.EPSILON, 2),
    "dpmpp 2m sde heun": (partial(dpmpp, sde=True, heun=True), Prediction.EPSILON, 2),
    "dpmpp 3m sde": (partial(dpmpp, order=3, sde=True), Prediction.EPSILON, 2),
}


@pytest.mark.parametrize("name", LAWS)
def test_stochastic_samplers_converge_in_mean_and_variance(name: str) -> None:
    """Mean and variance of stochastic samplers converge to the data's with the sampler's order."""
    solve, prediction, order = LAWS[name]
    first, second = (variance_error(solve(smooth_path(n, prediction)), prediction) for n in (80, 160))
    assert order - 0.25 < np.log2(first / second) < order + 0.75


def test_tcd_converges_only_without_fresh_noise() -> None:
    """TCD is of first order with eta 0; with eta above 0, more steps do not reduce the error."""
    config = {**SD, "timestep_spacing": "trailing"}
    diffusion = Diffusion.from_config({"_class_name": "TCDScheduler", "original_inference_steps": 1000, **config})

    def measured_order(eta: float) -> float:
        tables = [make_table(diffusion, steps, eta=eta) for steps in (50, 100)]
        errors = [variance_error(table, Prediction.EPSILON) for table in tables]
        return float(np.log2(errors[0] / errors[1]))

    assert 0.75 < measured_order(0.0) < 1.75
    assert measured_order(0.3) < 0.5


def test_heun_on_a_flow_is_of_second_order() -> None:
    """Heun's rule on a flow is of second order."""
    errors = [error(flow_heun(smooth_path(n, Prediction.FLOW)), Prediction.FLOW) for n in (64, 128)]
    assert 1.75 < np.log2(errors[0] / errors[1]) < 2.75


def test_second_order_sde_is_more_exact_than_first() -> None:
    """The second-order SDE solver has less than a tenth of the first order's error in the variance."""
    first, second = (variance_error(dpmpp(smooth_path(40), order=k, sde=True), Prediction.EPSILON) for k in (1, 2))
    assert second < first / 10
