"""What a scheduler_config.json means: the process, its sampler, its schedule and their settings."""

from typing import Any

import numpy as np
import pytest

from tests.support.numerics.configs import SANA, SD3, SD15, SDXL_TURBO, read
from tintype.service.numerics import InvalidSetting, Prediction, Shift, make_table, resolve


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


REFUSED = [
    ("_class_name", "RePaintScheduler", "supported are DDIMParallelScheduler, "),
    ("_class_name", None, "supported are"),
    ("skip_prk_steps", False, "must be True"),
    ("prediction_type", "velocity", "must be one of 'epsilon', 'v_prediction', 'sample'"),
    ("beta_schedule", "sigmoid", "'linear' or 'scaled_linear' or 'squaredcos_cap_v2'"),
    ("timestep_spacing", "random", "'linspace' or 'leading' or 'trailing'"),
    ("num_train_timesteps", "1000", "whole number"),
    ("num_train_timesteps", 0, "whole number, 1 or more"),
    ("steps_offset", -1, "whole number, 0 or more"),
    ("solver_order", 2.0, "whole number"),
    ("max_image_seq_len", "4096", "whole number"),
    ("beta_start", "0.00085", "number between 0 and 1"),
    ("beta_end", 12, "number between 0 and 1"),
    ("sigma_min", float("nan"), "number above 0"),
    ("sigma_max", [1.0], "number above 0"),
    ("timestep_scaling", True, "number above 0"),
    ("shift", 0, "number above 0"),
    ("max_shift", "1.15", "number between -10 and 10"),
    ("shift_terminal", 1, "number between 0 and 1"),
    ("trained_betas", {"0": 0.1}, "list of numbers"),
    ("disable_corrector", 3, "list of numbers above -1"),
    ("use_karras_sigmas", "false", "true or false"),
    ("lower_order_final", 1, "true or false"),
    ("prediction_type", ["epsilon"], "must be one of"),
    ("trained_betas", [0.1, 0.2], "number of betas"),
    ("rescale_betas_zero_snr", True, "v_prediction"),
    ("use_quantum_sigmas", True, "not a setting known here"),
]


READERS = {
    **dict.fromkeys(("solver_order", "disable_corrector", "sigma_min", "sigma_max"), "UniPCMultistepScheduler"),
    **dict.fromkeys(("use_karras_sigmas", "lower_order_final"), "UniPCMultistepScheduler"),
    **dict.fromkeys(("shift", "max_shift", "max_image_seq_len", "shift_terminal"), "FlowMatchEulerDiscreteScheduler"),
    **dict.fromkeys(("timestep_scaling", "rescale_betas_zero_snr"), "LCMScheduler"),
}
"""A class that reads the setting, where Stable Diffusion 1.5's does not."""


@pytest.mark.parametrize(("key", "value", "message"), REFUSED)
def test_refuses_by_key(key: str, value: Any, message: str) -> None:
    """What can't be followed is refused by its key, with what would be right, and never sampled differently."""
    named = {"_class_name": READERS[key]} if key in READERS else {}
    with pytest.raises(InvalidSetting, match=message) as caught:
        read(SD15, **named, **{key: value})
    other = {"rescale_betas_zero_snr": "prediction_type", "number of betas": "num_train_timesteps"}
    assert caught.value.field == other.get(key, other.get(message, key))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_karras_sigmas", True),
        ("final_sigmas_type", "sigma_min"),
        ("use_flow_sigmas", True),
        ("rescale_betas_zero_snr", True),
        ("solver_order", "3"),
        ("thresholding", True),
        ("sigma_min", -1),
        ("shift", 3.0),
        ("sigma_data", 0.5),
        ("timestep_scaling", None),
    ],
)
def test_a_setting_that_the_class_does_not_read_changes_nothing(key: str, value: Any) -> None:
    """What another class left behind in the file is neither followed nor judged."""
    left, plain = read(SD15, **{key: value}), read(SD15)
    ours, theirs = make_table(left, 8), make_table(plain, 8)
    np.testing.assert_array_equal(ours.sigmas, theirs.sigmas)
    np.testing.assert_array_equal(ours.b, theirs.b)
    assert (left.schedule, left.final_sigma, left.prediction) == ("normal", "zero", plain.prediction)


@pytest.mark.parametrize(("sampler", "schedule"), [("dpmpp_2m", "karras"), ("euler", "karras"), ("heun", "karras")])
def test_another_sampler_reads_the_file_by_its_own_class(sampler: str, schedule: str) -> None:
    """A request's sampler follows what its class reads, as `from_config` does; the file's own class does not."""
    left = read({"_class_name": "EulerAncestralDiscreteScheduler"}, use_karras_sigmas=True, set_alpha_to_one=False)
    assert resolve(left) == ("euler_ancestral", "normal")
    assert resolve(left, sampler) == (sampler, schedule)
    assert left.for_sampler("ddim").set_alpha_to_one is False


def test_what_another_class_can_not_follow_is_left_out() -> None:
    """A model is not refused for settings that only another sampler's class reads, nor is that sampler."""
    left = read(SD15, thresholding=True, use_karras_sigmas=True, use_beta_sigmas=True, solver_order="2")
    assert resolve(left, "dpmpp_2m") == ("dpmpp_2m", "normal")
    assert len(make_table(left, 8, sampler="unipc")) == 8


def test_listed_defaults_are_left_out() -> None:
    """What a file lists as left at its default is the class's own default, as in diffusers."""
    listed = read(SD15, _use_default_values=["steps_offset"])
    assert listed.steps_offset == 0


@pytest.mark.parametrize(
    ("name", "key", "field"),
    [("DDIMScheduler", "set_alpha_to_one", "set_alpha_to_one"), ("UniPCMultistepScheduler", "lower_order_final", "")],
)
def test_a_null_flag_is_false(name: str, key: str, field: str) -> None:
    """Null is false in diffusers, also where the class's default is true."""
    diffusion = read({"_class_name": name, "clip_sample": False}, **{key: None})
    assert (getattr(diffusion, field) if field else diffusion.settings[key]) is False


def test_a_schedule_that_would_rise_is_refused() -> None:
    """Ends of a schedule that leave no way down are told by their key when the file is read."""
    for config in ({"sigma_min": 200.0}, {"sigma_min": 5.0, "sigma_max": 4.0}):
        with pytest.raises(InvalidSetting, match="must be below the highest level"):
            read({"_class_name": "EulerDiscreteScheduler"}, use_karras_sigmas=True, **config)


def test_null_is_as_good_as_left_out() -> None:
    """Older files name what newer ones leave to the class, and write null for it."""
    silent = {"beta_start", "beta_end", "beta_schedule", "clip_sample"}
    config = dict.fromkeys(("timestep_scaling", "original_inference_steps", "set_alpha_to_one", "tensor_format"))
    config |= {key: value for key, value in SD15.items() if key in silent} | {"_class_name": "LCMScheduler"}
    assert read(config).distilled_steps == read(config, original_inference_steps=50).distilled_steps
    assert read(config, tensor_format="pt").sampler == "lcm"


def test_clipping_by_default_is_refused_too() -> None:
    """DDIM's class clips unless told not to: a file that leaves it out means it."""
    with pytest.raises(InvalidSetting, match="clip_sample True can't be followed"):
        read({"_class_name": "DDIMScheduler"})


@pytest.mark.parametrize(
    ("name", "key"),
    [("DDIMScheduler", "clip_sample"), ("LCMScheduler", "clip_sample"), ("UniPCMultistepScheduler", "thresholding")],
)
def test_clipping_is_refused_where_it_is_read(name: str, key: str) -> None:
    """What is not linear is refused by the class that does it; left over from another class, it means nothing."""
    with pytest.raises(InvalidSetting, match="must be False"):
        read({"_class_name": name, key: True})
    assert read({"_class_name": "EulerDiscreteScheduler", key: True}).sampler == "euler"


def test_a_flow_does_not_end_on_a_diffusions_level() -> None:
    """Diffusers ends such a run on the lowest level of betas that the model was not trained with: refused."""
    with pytest.raises(InvalidSetting, match="must be 'zero'"):
        read(SANA, final_sigmas_type="sigma_min")


def test_two_schedules_are_refused() -> None:
    """Two flags contradict each other."""
    with pytest.raises(InvalidSetting, match="contradicts use_karras_sigmas"):
        read({"_class_name": "EulerDiscreteScheduler"}, use_karras_sigmas=True, use_beta_sigmas=True)


def test_unknown_settings_that_are_off_are_ignored() -> None:
    """A newer diffusers writes new keys; switched off, they change nothing."""
    assert read(SD15, use_quantum_sigmas=False, novelty=None, _note="x").sampler == "plms"
