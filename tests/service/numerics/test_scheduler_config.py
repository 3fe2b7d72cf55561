"""What a scheduler_config.json means: the process, its sampler, its schedule and their settings."""

from typing import Any

import numpy as np
import pytest

from tintype.service.numerics import Prediction, Shift, make_table

from .configs import SANA, SD3, SD15, SDXL_TURBO, read


def test_stable_diffusion_1_5() -> None:
    """The published file is read as what it says: PLMS on noise, one timestep of offset."""
    diffusion = read(SD15)
    assert (diffusion.prediction, diffusion.sampler, diffusion.schedule) == (Prediction.EPSILON, "plms", "normal")
    assert diffusion.alphas_cumprod[[0, -1]] == pytest.approx([0.99915, 0.00466], rel=1e-3)
    assert make_table(diffusion, 50).timesteps[:3].tolist() == [981, 961, 961]


def test_sdxl_turbo() -> None:
    """One step from the last timestep."""
    table = make_table(read(SDXL_TURBO), 1)
    assert table.timesteps.tolist() == [999]
    assert not table.d.any()


def test_flows() -> None:
    """Stable Diffusion 3 and Sana are flows by other names: their shift, their own samplers."""
    assert (read(SD3).prediction, read(SD3).sampler, read(SD3).shift) == (Prediction.FLOW, "euler", Shift(3.0))
    assert (read(SANA).prediction, read(SANA).sampler, read(SANA).shift) == (Prediction.FLOW, "dpmpp_2m", Shift(3.0))
    assert read(SD3, stochastic_sampling=True).sampler == "lcm"


@pytest.mark.parametrize(
    ("settings", "sampler"),
    [
        ({}, "dpmpp_2m"),
        ({"solver_order": 3}, "dpmpp_3m"),
        ({"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde"),
        ({"algorithm_type": "sde-dpmsolver++", "solver_order": 3}, "dpmpp_3m_sde"),
    ],
)
def test_dpm_solver_by_settings(settings: dict[str, Any], sampler: str) -> None:
    """One of diffusers' classes is several samplers."""
    assert read({"_class_name": "DPMSolverMultistepScheduler"}, **settings).sampler == sampler


@pytest.mark.parametrize(
    ("flag", "schedule"),
    [
        ("use_karras_sigmas", "karras"),
        ("use_exponential_sigmas", "exponential"),
        ("use_beta_sigmas", "beta"),
        ("use_lu_lambdas", "lu"),
    ],
)
def test_schedule_flags(flag: str, schedule: str) -> None:
    """Each flag names a schedule."""
    assert read({"_class_name": "DPMSolverMultistepScheduler"}, **{flag: True}).schedule == schedule


@pytest.mark.parametrize(
    ("name", "settings", "sampler"),
    [
        ("DPMSolverSinglestepScheduler", {"solver_order": 3}, "dpmpp_3s"),
        ("DPMSolverMultistepScheduler", {"solver_order": 1}, "dpmpp_1s"),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "deis"}, "dpmpp_2m"),
        ("DPMSolverSDEScheduler", {}, "dpmpp_sde"),
        ("TCDScheduler", {}, "tcd"),
        ("FlowMatchLCMScheduler", {"upscale_mode": "bicubic"}, "lcm"),
    ],
)
def test_class_names(name: str, settings: dict[str, Any], sampler: str) -> None:
    """Each of diffusers' classes is a sampler here."""
    assert read({"_class_name": name, **settings}).sampler == sampler


DPM = {"_class_name": "DPMSolverMultistepScheduler"}


@pytest.mark.parametrize(
    ("config", "setting"),
    [
        (DPM, {"solver_type": "heun"}),
        (DPM, {"final_sigmas_type": "sigma_min"}),
        (DPM | {"final_sigmas_type": "sigma_min", "lower_order_final": False}, {"euler_at_final": True}),
        (DPM | {"final_sigmas_type": "sigma_min"}, {"lower_order_final": False}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"solver_order": 3}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"solver_type": "bh1"}),
        ({"_class_name": "UniPCMultistepScheduler"}, {"disable_corrector": [0]}),
        ({"_class_name": "DEISMultistepScheduler"}, {"solver_order": 3}),
        ({"_class_name": "LCMScheduler"}, {"timestep_scaling": 1.0}),
    ],
)
def test_settings_reach_their_sampler(config: dict[str, Any], setting: dict[str, Any]) -> None:
    """A setting of the file changes the weights of the run, and is not read in vain."""
    plain, told = (make_table(read(c), 10) for c in (config, config | setting))
    assert plain.b.shape != told.b.shape or np.abs(plain.b - told.b).max() > 1e-6
