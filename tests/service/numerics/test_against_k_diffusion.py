"""Samplers that diffusers lacks or defines differently, against k-diffusion's loops."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from tests.support.numerics.gaussian import posterior_mean, run, smooth_path
from tintype.service.numerics import Prediction, Table
from tintype.service.numerics.dpmpp import dpmpp
from tintype.service.numerics.onestep import (
    dpm2_ancestral,
    dpmpp_2s_ancestral,
    dpmpp_sde,
)
from tintype.service.numerics.path import Path
from tintype.service.numerics.table import Floats

Solve = Callable[[Path], Table]


def sample_dpmpp_3m_sde(rho: Floats, x: float, noises: Floats) -> float:
    """Return the end of k-diffusion's loop of this name, eta = 1, s_noise = 1; rho is its sigmas."""
    denoised_1 = denoised_2 = h_1 = h_2 = 0.0
    for i in range(len(rho) - 1):
        denoised = float(posterior_mean(np.array([x]), 1.0, rho[i], np.ones(1))[0])
        h = np.log(rho[i]) - np.log(rho[i + 1])
        x = np.exp(-2 * h) * x - np.expm1(-2 * h) * denoised
        phi_2 = np.expm1(-2 * h) / (2 * h) + 1
        if i == 1:
            x += phi_2 * (denoised - denoised_1) / (h_1 / h)
        elif i > 1:
            r0, r1 = h_1 / h, h_2 / h
            d1_0, d1_1 = (denoised - denoised_1) / r0, (denoised_1 - denoised_2) / r1
            d1, d2 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1), (d1_0 - d1_1) / (r0 + r1)
            x += phi_2 * d1 - (phi_2 / (2 * h) - 0.5) * d2
        x += noises[i] * rho[i + 1] * np.sqrt(-np.expm1(-2 * h))
        denoised_1, denoised_2, h_1, h_2 = denoised, denoised_1, h, h_1
    return float(x)


def test_third_order_sde_equals_k_diffusion() -> None:
    """The third-order SDE solver equals `sample_dpmpp_3m_sde` (not diffusers' version, see dpmpp.py)."""
    path = smooth_path(12)
    noises = np.random.default_rng(0).standard_normal(12)
    x, rho = 1.3, path.rho
    table = dpmpp(path, order=3, sde=True, heun=True, lower_order_final=False)
    ours = run(table, Prediction.EPSILON, np.array([x]), np.ones(1), noises)
    theirs = sample_dpmpp_3m_sde(rho, x / path.alpha[0], noises)
    assert ours[0] / path.alpha_to[-1] == pytest.approx(theirs, rel=1e-12)


def sample_two_calls(name: str, rho: Floats, x: float, noises: Floats) -> float:
    """Return the end of k-diffusion's `sample_dpm_2_ancestral` or `sample_dpmpp_2s_ancestral`, eta = 1."""
    for i, (sigma, to) in enumerate(itertools.pairwise(rho)):
        denoised = float(posterior_mean(np.array([x]), 1.0, sigma, np.ones(1))[0])
        up = np.sqrt(to**2 * (sigma**2 - to**2) / sigma**2)
        down = np.sqrt(to**2 - up**2)
        slope = (x - denoised) / sigma
        if i == len(rho) - 2:
            return float(x + slope * (to - sigma))
        middle = np.exp((np.log(sigma) + np.log(down)) / 2)
        halfway = x + slope * (middle - sigma)
        again = float(posterior_mean(np.array([halfway]), 1.0, middle, np.ones(1))[0])
        if name == "dpm_2":
            x = x + (halfway - again) / middle * (down - sigma) + noises[2 * i + 1] * up
        else:
            x = down / sigma * x - np.expm1(np.log(down / sigma)) * again + noises[2 * i + 1] * up
    raise AssertionError


@pytest.mark.parametrize(("name", "solve"), [("dpm_2", dpm2_ancestral), ("dpmpp_2s", dpmpp_2s_ancestral)])
def test_ancestral_two_calls_equal_k_diffusion(name: str, solve: Solve) -> None:
    """The ancestral samplers with two calls a step equal k-diffusion's."""
    path = smooth_path(12)
    noises = np.random.default_rng(0).standard_normal(23)
    table = solve(path)
    ours = run(table, Prediction.EPSILON, np.array([1.3]), np.ones(1), noises)
    theirs = sample_two_calls(name, path.rho, 1.3 / path.alpha[0], noises)
    assert ours[0] / path.alpha_to[-1] == pytest.approx(theirs, rel=1e-12)


def test_dpmpp_sde_step_equals_k_diffusion() -> None:
    """A step without noise equals `sample_dpmpp_sde`, and the added noise has that sampler's variance."""
    path = smooth_path(6)
    table = dpmpp_sde(path)
    rho, x = path.rho, 1.7
    denoised, again = 0.4, -0.9  # the outputs of the two calls
    half = table.a[0] * x + table.b[0, 0] * denoised
    ours = table.a[1] * half + table.b[1] @ [again, denoised]
    h = np.log(rho[0] / rho[1])
    theirs = np.exp(-2 * h) * x / path.alpha[0] - np.expm1(-2 * h) * again
    assert ours / path.alpha_to[0] == pytest.approx(theirs, rel=1e-12)
    spread = np.hypot(table.a[1] * table.d[0], table.d[1]) / path.alpha_to[0]
    assert spread == pytest.approx(rho[1] * np.sqrt(-np.expm1(-2 * h)), rel=1e-12)
