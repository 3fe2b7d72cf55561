"""Reading scheduler_config.json: the process, the sampler, the schedule, and which settings are rejected."""

from typing import Any

import numpy as np
import pytest

from tests.support.numerics.configs import SANA, SD3, SD15, SDXL_TURBO, read
from tintype.service.numerics import InvalidSetting, Prediction, Shift, make_table, resolve


def test_the_file_of_stable_diffusion_1_5_means_plms() -> None:
    """The published file means PLMS on epsilon, with steps_offset 1."""
    diffusion = read(SD15)
    assert (diffusion.prediction, diffusion.sampler, diffusion.schedule) == (Prediction.EPSILON, "plms", "normal")
    assert diffusion.alphas_cumprod[[0, -1]] == pytest.approx([0.99915, 0.00466], rel=1e-3)
    assert make_table(diffusion, 50).timesteps[:3].tolist() == [981, 961, 961]


def test_sdxl_turbo_starts_at_the_last_timestep() -> None:
    """SDXL Turbo takes one step, from the last timestep."""
    table = make_table(read(SDXL_TURBO), 1)
    assert table.timesteps.tolist() == [999]
    assert not table.d.any()


def test_flows_are_read_with_shift_and_sampler() -> None:
    """Stable Diffusion 3 and Sana are read as flows, each with its shift and sampler."""
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
def test_settings_select_the_dpm_solver(settings: dict[str, Any], sampler: str) -> None:
    """DPMSolverMultistepScheduler maps to several samplers, by its settings."""
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
def test_each_flag_selects_its_schedule(flag: str, schedule: str) -> None:
    """Each flag selects its schedule."""
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
def test_each_class_maps_to_a_sampler(name: str, settings: dict[str, Any], sampler: str) -> None:
    """Each class of diffusers maps to a sampler."""
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
    """Each of these settings changes the weights of the run."""
    without, changed = (make_table(read(c), 10) for c in (config, config | setting))
    assert without.b.shape != changed.b.shape or np.abs(without.b - changed.b).max() > 1e-6


REJECTED = [
    ("_class_name", "RePaintScheduler", "use one of DDIMParallelScheduler, "),
    ("_class_name", None, "use one of"),
    ("skip_prk_steps", False, "must be True"),
    ("prediction_type", "velocity", "must be one of 'epsilon', 'v_prediction', 'sample'"),
    ("beta_schedule", "sigmoid", "'linear' or 'scaled_linear' or 'squaredcos_cap_v2'"),
    ("timestep_spacing", "random", "'linspace' or 'leading' or 'trailing'"),
    ("num_train_timesteps", "1000", "integer"),
    ("num_train_timesteps", 0, "integer of at least 1"),
    ("steps_offset", -1, "integer of at least 0"),
    ("solver_order", 2.0, "integer"),
    ("max_image_seq_len", "4096", "integer"),
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
    ("use_quantum_sigmas", True, "not a known setting"),
]


READERS = {
    **dict.fromkeys(("solver_order", "disable_corrector", "sigma_min", "sigma_max"), "UniPCMultistepScheduler"),
    **dict.fromkeys(("use_karras_sigmas", "lower_order_final"), "UniPCMultistepScheduler"),
    **dict.fromkeys(("shift", "max_shift", "max_image_seq_len", "shift_terminal"), "FlowMatchEulerDiscreteScheduler"),
    **dict.fromkeys(("timestep_scaling", "rescale_betas_zero_snr"), "LCMScheduler"),
}
"""For settings that Stable Diffusion 1.5's class does not read, a class that does."""


@pytest.mark.parametrize(("key", "value", "message"), REJECTED)
def test_unsupported_settings_are_rejected_by_key(key: str, value: Any, message: str) -> None:
    """An unsupported setting raises InvalidSetting with its key and what would be right."""
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
def test_settings_that_the_class_does_not_read_are_ignored(key: str, value: Any) -> None:
    """Settings left in the file by another class change nothing and are not checked."""
    left, clean = read(SD15, **{key: value}), read(SD15)
    table, expected = make_table(left, 8), make_table(clean, 8)
    np.testing.assert_array_equal(table.sigmas, expected.sigmas)
    np.testing.assert_array_equal(table.b, expected.b)
    assert (left.schedule, left.final_sigma, left.prediction) == ("normal", "zero", clean.prediction)


@pytest.mark.parametrize(("sampler", "schedule"), [("dpmpp_2m", "karras"), ("euler", "karras"), ("heun", "karras")])
def test_another_sampler_reads_the_file_by_its_own_class(sampler: str, schedule: str) -> None:
    """For another sampler, that sampler's class reads the file, as `from_config` does."""
    left = read({"_class_name": "EulerAncestralDiscreteScheduler"}, use_karras_sigmas=True, set_alpha_to_one=False)
    assert resolve(left) == ("euler_ancestral", "normal")
    assert resolve(left, sampler) == (sampler, schedule)
    assert left.for_sampler("ddim").set_alpha_to_one is False


def test_unsupported_settings_of_another_class_are_left_out() -> None:
    """Unsupported settings that only another sampler's class reads reject neither the model nor that sampler."""
    left = read(SD15, thresholding=True, use_karras_sigmas=True, use_beta_sigmas=True, solver_order="2")
    assert resolve(left, "dpmpp_2m") == ("dpmpp_2m", "normal")
    assert len(make_table(left, 8, sampler="unipc")) == 8


def test_listed_defaults_are_ignored() -> None:
    """For settings in `_use_default_values` the class's default is used, as in diffusers."""
    listed = read(SD15, _use_default_values=["steps_offset"])
    assert listed.steps_offset == 0


@pytest.mark.parametrize(
    ("name", "key", "field"),
    [("DDIMScheduler", "set_alpha_to_one", "set_alpha_to_one"), ("UniPCMultistepScheduler", "lower_order_final", "")],
)
def test_a_null_flag_is_false(name: str, key: str, field: str) -> None:
    """A null flag is false, as in diffusers, even if the class's default is true."""
    diffusion = read({"_class_name": name, "clip_sample": False}, **{key: None})
    assert (getattr(diffusion, field) if field else diffusion.sampler_settings[key]) is False


def test_rising_schedule_is_rejected() -> None:
    """A sigma_min above the highest level raises InvalidSetting when the file is read."""
    for config in ({"sigma_min": 200.0}, {"sigma_min": 5.0, "sigma_max": 4.0}):
        with pytest.raises(InvalidSetting, match="must be below the highest level"):
            read({"_class_name": "EulerDiscreteScheduler"}, use_karras_sigmas=True, **config)


def test_null_means_default() -> None:
    """A null setting, as older files have, is the class's default."""
    silent = {"beta_start", "beta_end", "beta_schedule", "clip_sample"}
    config = dict.fromkeys(("timestep_scaling", "original_inference_steps", "set_alpha_to_one", "tensor_format"))
    config |= {key: value for key, value in SD15.items() if key in silent} | {"_class_name": "LCMScheduler"}
    assert read(config).distilled_steps == read(config, original_inference_steps=50).distilled_steps
    assert read(config, tensor_format="pt").sampler == "lcm"


def test_clipping_by_default_is_rejected() -> None:
    """DDIMScheduler clips by default, so a file without clip_sample is rejected."""
    with pytest.raises(InvalidSetting, match="clip_sample True is not supported"):
        read({"_class_name": "DDIMScheduler"})


@pytest.mark.parametrize(
    ("name", "key"),
    [("DDIMScheduler", "clip_sample"), ("LCMScheduler", "clip_sample"), ("UniPCMultistepScheduler", "thresholding")],
)
def test_clipping_is_rejected_where_it_is_read(name: str, key: str) -> None:
    """Clipping is rejected for a class that clips and ignored for a class that does not read it."""
    with pytest.raises(InvalidSetting, match="must be False"):
        read({"_class_name": name, key: True})
    assert read({"_class_name": "EulerDiscreteScheduler", key: True}).sampler == "euler"


def test_flow_rejects_final_sigma_min() -> None:
    """final_sigmas_type sigma_min is rejected on a flow: diffusers would end on a level of unrelated betas."""
    with pytest.raises(InvalidSetting, match="must be 'zero'"):
        read(SANA, final_sigmas_type="sigma_min")


def test_two_schedules_are_rejected() -> None:
    """Two schedule flags contradict each other."""
    with pytest.raises(InvalidSetting, match="contradicts use_karras_sigmas"):
        read({"_class_name": "EulerDiscreteScheduler"}, use_karras_sigmas=True, use_beta_sigmas=True)


def test_unknown_settings_that_are_off_are_ignored() -> None:
    """Unknown keys that are false, null or start with an underscore are ignored."""
    assert read(SD15, use_quantum_sigmas=False, novelty=None, _note="x").sampler == "plms"
