"""Every sampler against diffusers' own `step()`, whole trajectories with a network that is anything but linear."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.numerics.reference import LENGTHS, MORE, SD, STEPS, ZERO_SNR, Run, Settings, label, settings_of
from tintype.service.numerics.schedules import linear_quadratic

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # diffusers beside numpy 2
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # where diffusers takes the logarithm of 0
]

Note = Callable[[str, float], None]

BOUND = 2e-6
"""Greatest difference relative to max(1, |x|), after any call; diffusers computes in float32."""

ROUNDED: list[tuple[str, Settings, float, str]] = [
    ("DEISMultistep", {}, 2e-5, "its weights are float32 differences of nearly equal numbers: equal in float64, below"),
    ("EulerDiscrete", ZERO_SNR, 2e-5, "it comes down from x = 4096 * N(0, 1): 4096 * 2**-24 stays in what follows"),
    ("EulerAncestralDiscrete", ZERO_SNR, 2e-4, "the same, and more as each step subtracts nearly equal squares"),
    ("UniPCMultistep", {"use_flow_sigmas": True}, 2e-5, "its first alpha, 1e-6, is 1 less a float32 number"),
    ("DDIM with noise", ZERO_SNR, 2e-4, "its variance is the root of a float32 difference: 6e-7 in float64"),
    ("DDIM with noise", {"prediction_type": "sample"}, 4e-6, "the same: 1e-14 in float64"),
    ("HeunDiscrete", {"prediction_type": "sample"}, 2e-4, "it divides x - x0 by the smallest level"),
]
"""Where diffusers' own rounding is larger than the bound."""

ENDS_AT_ITS_LOWEST = (
    "after its lowest level it repeats it: a single step leads nowhere and returns noise; ours denoises"
)
PLMS_GOES_BACK = (
    "its second call goes back by T // n, which is the first step with `leading` alone; ours goes back there"
)
SCHEDULES = [{f"use_{kind}_sigmas": True} for kind in ("karras", "exponential", "beta")]

APART: list[tuple[str, Settings, int | None, str]] = [
    ("PNDM", {"timestep_spacing": "trailing"}, None, PLMS_GOES_BACK),
    ("PNDM", {"timestep_spacing": "linspace"}, None, PLMS_GOES_BACK),
    *(("UniPCMultistep", {**kind, "final_sigmas_type": "sigma_min"}, 1, ENDS_AT_ITS_LOWEST) for kind in SCHEDULES),
    *(("DEISMultistep", kind, 1, ENDS_AT_ITS_LOWEST) for kind in SCHEDULES),
    ("UniPCMultistep", {"solver_type": "bh1"}, None, "not a number where it ends in no noise: infinity times 0"),
    ("KDPM2AncestralDiscrete", {}, 2, "its level half way is the difference of nearly equal float32 squares"),
    ("FlowMatchEulerDiscrete", {"shift_terminal": 0.1}, 1, "not a number: a single level is its own terminal"),
    ("UniPCMultistep", {"shift_terminal": 0.1}, 1, "not a number: a single level is its own terminal"),
]
"""Where we are not equal, on purpose."""

NEARLY_ALL_FRESH = 0.99
"""In the place of eta 1 from a level without signal.

There diffusers takes the root of 1 - a - (1 - a): by the processor's rounding a little more than 0, or not a number."""


def tolerance(name: str, settings: Settings) -> float:
    return max([BOUND, *(bound for row, part, bound, _ in ROUNDED if row == name and part.items() <= settings.items())])


def apart(name: str, settings: Settings, steps: int) -> bool:
    if settings.get("solver_type") == "bh1" and settings.get("final_sigmas_type") == "sigma_min":
        return False
    return any(
        row == name and part.items() <= settings.items() and length in (None, steps) for row, part, length, _ in APART
    )


def cases() -> Iterator[Any]:
    for name in MORE:
        for settings in settings_of(name):
            yield pytest.param(name, settings, id=label(name, settings))


@pytest.mark.parametrize(("name", "settings"), list(cases()))
def test_equals_diffusers(name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    """The same settings and the same noise give diffusers' trajectory, at every call."""
    lengths = STEPS if settings not in [{**SD, **more} for more in MORE[name]] else (*STEPS, *LENGTHS)
    for steps in lengths:
        if not apart(name, settings, steps):
            difference = Run(name, settings, steps).difference(monkeypatch)
            note(name, difference)
            assert difference < tolerance(name, settings), f"{steps} steps"


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", ["DDIM", "TCD"])
def test_eta_means_the_same(name: str, eta: float, monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    """The share of fresh noise is what it is in diffusers."""
    row = f"{name} with noise" if eta else name
    for settings in settings_of(name):
        without_signal = settings.get("rescale_betas_zero_snr", False)
        share = min(eta, NEARLY_ALL_FRESH) if without_signal else eta
        difference = Run(name, settings, 20, eta=share).difference(monkeypatch)
        note(row, difference)
        assert difference < tolerance(row, settings)


IN_THE_MIDDLE = [name for name in MORE if name not in ("PNDM", "LMSDiscrete")]  # see engine/origin.py


@pytest.mark.parametrize("name", IN_THE_MIDDLE)
def test_begins_in_the_middle_as_diffusers(name: str, monkeypatch: pytest.MonkeyPatch, note: Note) -> None:
    """Image-to-image: with the first steps left out, the rest is diffusers' trajectory from the same noised latents."""
    for settings in settings_of(name):
        for steps, start in ((9, 4), (5, 4)):
            if apart(name, settings, steps):
                continue
            difference = Run(name, settings, steps, start=start).difference(monkeypatch)
            note(name, difference)
            assert difference < tolerance(name, settings), label(name, settings)


def test_deis_differs_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its levels in float64 diffusers' DEIS computes our weights."""
    for settings in settings_of("DEISMultistep"):
        for steps in (7, 20):
            run = Run("DEISMultistep", settings, steps)
            run.scheduler.sigmas = run.scheduler.sigmas.double()
            assert run.difference(monkeypatch) < BOUND


def test_deis_on_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """DEIS is diffusers' on a flow too, but for the last call: there it stays at its lowest level, ours goes to 0."""
    run = Run("DEISMultistep", {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}, 20)
    run.scheduler.sigmas = run.scheduler.sigmas.double()
    theirs, ours = run.theirs(monkeypatch), run.ours()
    assert abs(ours[:-1] - theirs[:-1]).max() < BOUND
    assert run.table.sigmas[-1] == 0 < run.scheduler.sigmas[-1]


@pytest.mark.parametrize("steps", [2, 3, 8, 25, 64])
def test_linear_quadratic_is_mochis(steps: int) -> None:
    """Its levels are those that diffusers' Mochi pipeline computes; diffusers leaves out the last, which is 0."""
    mochi = pytest.importorskip("diffusers.pipelines.mochi.pipeline_mochi")
    theirs = mochi.linear_quadratic_schedule(steps, 0.025)
    ours = linear_quadratic(np.zeros(steps), 0.0, 1.0)
    np.testing.assert_allclose(ours, [*theirs, 0.0], atol=1e-12)
