"""Every sampler against diffusers' own `step()`, over whole trajectories with a strongly nonlinear network."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.numerics.reference import (
    LENGTHS,
    MORE,
    SD,
    STEPS,
    ZERO_SNR,
    Run,
    Settings,
    label,
    network,
    settings_of,
)
from tintype.service.numerics import Diffusion, make_table
from tintype.service.numerics.schedules import linear_quadratic

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # diffusers with numpy 2
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # diffusers takes the logarithm of 0
]

Record = Callable[[str, float], None]

BOUND = 2e-6
"""Largest difference after any call, relative to max(1, |x|); diffusers computes in float32."""

ROUNDED: list[tuple[str, Settings, float, str]] = [
    (
        "DEISMultistep",
        {},
        2e-5,
        "its weights are float32 differences of nearly equal numbers; equal in float64, tested below",
    ),
    ("EulerDiscrete", ZERO_SNR, 2e-5, "it starts at x = 4096 * N(0, 1): an error of 4096 * 2**-24 remains"),
    ("EulerAncestralDiscrete", ZERO_SNR, 2e-4, "the same, and each step subtracts nearly equal squares"),
    ("UniPCMultistep", {"use_flow_sigmas": True}, 2e-5, "its first alpha, 1e-6, is 1 minus a float32 number"),
    ("DDIM with noise", ZERO_SNR, 2e-4, "its standard deviation is the root of a float32 difference: 6e-7 in float64"),
    ("DDIM with noise", {"prediction_type": "sample"}, 4e-6, "the same: 1e-14 in float64"),
    ("HeunDiscrete", {"prediction_type": "sample"}, 2e-4, "it divides x - x0 by the smallest level"),
]
"""Cases where diffusers' own rounding exceeds BOUND, each with its reason."""

ENDS_AT_ITS_LOWEST = (
    "its lowest level occurs twice, so a single step changes nothing and returns noise; tintype denoises"
)
EDM_SOLVER = "EDMDPMSolverMultistep"
STARTS_AT_ITS_LOWEST = "a single step starts at the lowest level, from noise of the highest; tintype starts there too"
PLMS_GOES_BACK = (
    "its second call goes back by T // n, which is the first step only with `leading`; tintype goes back by that step"
)
SCHEDULES = [{f"use_{kind}_sigmas": True} for kind in ("karras", "exponential", "beta")]

INTENDED_DIFFERENCES: list[tuple[str, Settings, int | None, str]] = [
    ("PNDM", {"timestep_spacing": "trailing"}, None, PLMS_GOES_BACK),
    ("PNDM", {"timestep_spacing": "linspace"}, None, PLMS_GOES_BACK),
    *(("UniPCMultistep", {**kind, "final_sigmas_type": "sigma_min"}, 1, ENDS_AT_ITS_LOWEST) for kind in SCHEDULES),
    *(("DEISMultistep", kind, 1, ENDS_AT_ITS_LOWEST) for kind in SCHEDULES),
    ("EDMEuler", {"final_sigmas_type": "sigma_min"}, 1, ENDS_AT_ITS_LOWEST),
    *((name, {"sigma_schedule": "exponential"}, 1, STARTS_AT_ITS_LOWEST) for name in ("EDMEuler", EDM_SOLVER)),
    ("UniPCMultistep", {"solver_type": "bh1"}, None, "not a number at the zero-noise end: infinity times 0"),
    ("KDPM2AncestralDiscrete", {}, 2, "its midpoint level is a difference of nearly equal float32 squares"),
    ("FlowMatchEulerDiscrete", {"shift_terminal": 0.1}, 1, "not a number: a single level is also the terminal level"),
    ("UniPCMultistep", {"shift_terminal": 0.1}, 1, "not a number: a single level is also the terminal level"),
]
"""Intended differences from diffusers: class, settings, steps (None: any), reason."""

NEARLY_ALL_FRESH = 0.99
"""Used instead of eta 1 from a level of zero signal.

There diffusers takes the root of 1 - a - (1 - a), which the processor rounds to slightly above 0 or to not a number."""


def tolerance(name: str, settings: Settings) -> float:
    return max([BOUND, *(bound for row, part, bound, _ in ROUNDED if row == name and part.items() <= settings.items())])


def is_intended(name: str, settings: Settings, steps: int) -> bool:
    if settings.get("solver_type") == "bh1" and settings.get("final_sigmas_type") == "sigma_min":
        return False
    return any(
        row == name and part.items() <= settings.items() and length in (None, steps)
        for row, part, length, _ in INTENDED_DIFFERENCES
    )


def cases() -> Iterator[Any]:
    for name in MORE:
        for settings in settings_of(name):
            yield pytest.param(name, settings, id=label(name, settings))


@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_every_sampler_equals_diffusers(
    name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    """With equal settings and noise, x equals diffusers' after every call."""
    lengths = STEPS if settings not in [{**SD, **more} for more in MORE[name]] else (*STEPS, *LENGTHS)
    for steps in lengths:
        if not is_intended(name, settings, steps):
            difference = Run(name, settings, steps).difference(monkeypatch)
            record(name, difference)
            assert difference < tolerance(name, settings), f"{steps} steps"


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["DDIM", "TCD"])
def test_eta_means_the_same(name: str, eta: float, monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    """The setting eta means the same share of fresh noise as in diffusers."""
    row = f"{name} with noise" if eta else name
    for settings in settings_of(name):
        without_signal = settings.get("rescale_betas_zero_snr", False)
        share = min(eta, NEARLY_ALL_FRESH) if without_signal else eta
        difference = Run(name, settings, 20, eta=share).difference(monkeypatch)
        record(row, difference)
        assert difference < tolerance(row, settings)


WITH_SKIPPED_STEPS = [
    name for name in MORE if name not in ("PNDM", "LMSDiscrete")
]  # both lose their place in diffusers when steps are skipped


@pytest.mark.parametrize("name", WITH_SKIPPED_STEPS)
def test_skipped_steps_equal_diffusers(name: str, monkeypatch: pytest.MonkeyPatch, record: Record) -> None:
    """Image-to-image: without its first steps, a run equals diffusers' from the same noised latents."""
    for settings in settings_of(name):
        for steps, start in ((9, 4), (5, 4)):
            if is_intended(name, settings, steps):
                continue
            difference = Run(name, settings, steps, start=start).difference(monkeypatch)
            record(name, difference)
            assert difference < tolerance(name, settings), label(name, settings)


def test_deis_differs_only_by_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its levels in float64, diffusers' DEIS has the same weights."""
    for settings in settings_of("DEISMultistep"):
        for steps in (7, 20):
            run = Run("DEISMultistep", settings, steps)
            run.scheduler.sigmas = run.scheduler.sigmas.double()
            assert run.difference(monkeypatch) < BOUND


def test_deis_on_a_flow_equals_diffusers_except_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEIS on a flow equals diffusers except in the last call, which goes to 0 instead of the lowest level."""
    run = Run("DEISMultistep", {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}, 20)
    run.scheduler.sigmas = run.scheduler.sigmas.double()
    expected, states = run.diffusers_states(monkeypatch), run.states()
    assert abs(states[:-1] - expected[:-1]).max() < BOUND
    assert run.table.sigmas[-1] == 0 < run.scheduler.sigmas[-1]


@pytest.mark.parametrize("steps", [2, 3, 8, 25, 64])
def test_linear_quadratic_equals_mochis_levels(steps: int) -> None:
    """`linear_quadratic` equals the levels of diffusers' Mochi pipeline, which omits the final 0."""
    mochi = pytest.importorskip("diffusers.pipelines.mochi.pipeline_mochi")
    theirs = mochi.linear_quadratic_schedule(steps, 0.025)
    ours = linear_quadratic(np.zeros(steps), 0.0, 1.0)
    np.testing.assert_allclose(ours, [*theirs, 0.0], atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_scm_equals_diffusers(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SANA-Sprint's sampler equals diffusers' on latents that are divided by their deviation."""
    scheduler = pytest.importorskip("diffusers").SCMScheduler()
    torch, deviation = pytest.importorskip("torch"), scheduler.config.sigma_data
    table = make_table(Diffusion.from_config({**scheduler.config, "_class_name": "SCMScheduler"}), steps)
    scheduler.set_timesteps(steps, intermediate_timesteps=1.3 if steps == 2 else None)
    noises = np.random.default_rng(3).standard_normal((steps + 1, 5, 6))
    x, theirs = noises[0].copy(), torch.from_numpy(noises[0] * deviation)
    for i, t in enumerate(scheduler.timesteps[:-1]):
        out = torch.from_numpy(network(theirs.numpy() / deviation, float(t)) * deviation)
        fresh = torch.from_numpy(noises[i + 1])
        monkeypatch.setattr(f"{type(scheduler).__module__}.randn_tensor", lambda *_, fresh=fresh, **__: fresh)
        theirs, denoised = scheduler.step(out, t, theirs, return_dict=False)
        assert table.timesteps[i] == pytest.approx(float(t), abs=1e-6)
        x = table.a[i] * x + table.b[i, 0] * (table.p[i] * x + table.q[i] * network(x, table.timesteps[i]))
        x += table.d[i] * noises[i + 1]
        if i < steps - 1:
            np.testing.assert_allclose(x, theirs.numpy() / deviation, atol=2e-6)
    np.testing.assert_allclose(x, denoised.numpy() / deviation, atol=2e-6)


@pytest.mark.parametrize("steps", [1, 4, 28, 50, 250])
@pytest.mark.parametrize("tokens", [16, 1024, 4300, 4301, 16384])
def test_a_shift_by_steps_equals_flux2s_levels(tokens: int, steps: int) -> None:
    """Levels and timesteps equal those that FLUX.2's pipeline sets, also from the middle on."""
    pipeline = pytest.importorskip("diffusers.pipelines.flux2.pipeline_flux2")
    even = np.linspace(1, 1 / steps, steps)
    scheduler = pytest.importorskip("diffusers").FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=even, mu=pipeline.compute_empirical_mu(image_seq_len=tokens, num_steps=steps))
    diffusion = Diffusion.from_config({**scheduler.config, "_class_name": "FlowMatchEulerDiscreteScheduler"})
    diffusion = replace(diffusion, shift=replace(diffusion.shift, by_steps=True))
    for start in {0, steps // 3}:
        table = make_table(diffusion, steps, start=start, image_tokens=tokens, sigmas=even)
        np.testing.assert_allclose(table.sigmas, scheduler.sigmas[start:], atol=1e-6)
        np.testing.assert_allclose(table.timesteps, scheduler.timesteps[start:], atol=1e-3)
